"""Reading and writing what other projects made, and fitting into them."""

from pushforward.interop import sbi
from pushforward.interop.ml_tarflow import load_ml_tarflow, save_ml_tarflow

__all__ = ["load_ml_tarflow", "save_ml_tarflow", "sbi"]

"""Interoperation: checkpoints of ml-tarflow and nflows, and density estimators for sbi."""

from pushforward.interop import sbi
from pushforward.interop.ml_tarflow import load_ml_tarflow, save_ml_tarflow
from pushforward.interop.nflows import load_nflows

__all__ = ["load_ml_tarflow", "load_nflows", "save_ml_tarflow", "sbi"]

"""Interoperation: checkpoints of STARFlow, TarFlow and nflows; estimators for sbi and scikit-learn; distributions for
Pyro."""

from typing import TYPE_CHECKING, Any

from pushforward.interop import sbi
from pushforward.interop.ml_itarflow import load_ml_itarflow
from pushforward.interop.ml_starflow import load_ml_denoiser, load_ml_starflow
from pushforward.interop.ml_tarflow import load_ml_tarflow, save_ml_tarflow
from pushforward.interop.nflows import load_nflows
from pushforward.optional import require

if TYPE_CHECKING:
    from pushforward.interop import pyro, sklearn

__all__ = [
    "load_ml_denoiser",
    "load_ml_itarflow",
    "load_ml_starflow",
    "load_ml_tarflow",
    "load_nflows",
    "pyro",
    "save_ml_tarflow",
    "sbi",
    "sklearn",
]


def __getattr__(name: str) -> Any:
    """`pyro` and `sklearn`, imported when they are used: their classes inherit from those of the libraries."""
    if name in ("pyro", "sklearn"):
        return require(f"pushforward.interop.{name}", name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Interoperation: checkpoints of STARFlow, TarFlow and nflows, estimators for sbi, distributions for Pyro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pushforward.interop import sbi
from pushforward.interop.ml_itarflow import load_ml_itarflow
from pushforward.interop.ml_starflow import load_ml_denoiser, load_ml_starflow
from pushforward.interop.ml_tarflow import load_ml_tarflow, save_ml_tarflow
from pushforward.interop.nflows import load_nflows
from pushforward.optional import require

if TYPE_CHECKING:
    from pushforward.interop import pyro

__all__ = [
    "load_ml_denoiser",
    "load_ml_itarflow",
    "load_ml_starflow",
    "load_ml_tarflow",
    "load_nflows",
    "pyro",
    "save_ml_tarflow",
    "sbi",
]


def __getattr__(name: str) -> Any:
    """`pyro`, imported when it is used: its classes inherit from Pyro's."""
    if name == "pyro":
        return require("pushforward.interop.pyro", "pyro")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

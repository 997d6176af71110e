"""Kernels on or off, for tests that compare them with tensor operations."""

import os
import shutil

import pytest

from pushforward.kernels import serving
from pushforward.kernels.build import library

UNTESTED = "compiled kernels are NOT tested: there is no C++ compiler"
NAMES = ("affine", "spline", "perceptron", "masked", "transformer")


def available() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None and all(library(name) for name in NAMES)


def switch(monkeypatch, on: bool) -> None:
    """Kernels serve however little work there is, or never. Skips the test where they cannot be built."""
    monkeypatch.setenv("PUSHFORWARD_KERNELS", str(int(on)))
    if on and not available():
        pytest.skip(UNTESTED)
    monkeypatch.setattr(serving, "LEAST", dict.fromkeys(serving.LEAST, 0))

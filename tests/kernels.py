"""Kernels on or off, for tests that compare them with tensor operations."""

import os

import pytest

from pushforward.kernels import build, perceptron, serving

UNTESTED = "compiled kernels are NOT tested: there is no C++ compiler, or they are switched off"
NAMES = ("affine", "spline", "perceptron", "masked", "transformer", "philox")


def available() -> bool:
    return os.environ.get("PUSHFORWARD_KERNELS") != "0" and all(build.library(name) for name in NAMES)


def switch(monkeypatch, on: bool) -> None:
    """Kernels serve whether or not they are faster, or never. Skips the test where they cannot be built."""
    monkeypatch.setattr(build, "enabled", on)
    if on and not available():
        pytest.skip(UNTESTED)
    monkeypatch.setattr(serving, "LEAST", dict.fromkeys(serving.LEAST, 0))
    monkeypatch.setattr(perceptron, "pays", lambda *_, **__: True)

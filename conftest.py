"""What every test and doctest gets: the two usual names, a seed, and a guard of torch's global state."""

from __future__ import annotations

import os
import shutil

import pytest

if shutil.which(os.environ.get("CXX", "g++")) is None:
    os.environ["PUSHFORWARD_KERNELS"] = (
        "0"  # else the first test that wants one fails of a warning; others skip visibly
    )

import torch

import pushforward

torch.set_num_threads(1)  # tests run side by side


def global_state() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.fixture(autouse=True)
def _everyday(doctest_namespace):
    doctest_namespace.update(torch=torch, pf=pushforward)
    torch.manual_seed(0)
    before = global_state()
    yield
    assert global_state() == before, "this test changed torch's global state"

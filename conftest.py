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
from pushforward import capture
from tests.kernels import UNTESTED, switch
from tests.tape import Tapes

torch.set_num_threads(1)  # tests run side by side


def autocast_nesting() -> int:
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return depth


def global_state() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cpu"),
        autocast_nesting(),  # above one the weights that autocast has cast are kept when they change
    )


@pytest.fixture(autouse=True)
def _everyday(doctest_namespace):
    doctest_namespace.update(torch=torch, pf=pushforward)
    torch.manual_seed(0)
    before = global_state()
    yield
    assert global_state() == before, "this test changed torch's global state"


def pytest_collectstart(collector):
    """Seed what a module draws on import, so that it does not depend on the modules before it."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Tests skipped for want of kernels are counted in one line of the summary, not in one for each of them."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and report.longrepr[2] == f"Skipped: {UNTESTED}":
        report.longrepr = (__file__, None, report.longrepr[2])
    return report


@pytest.fixture
def inductor():
    """torch's own compiler, without its cache, which would serve on one kind of processor what it built for another."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("inductor is NOT tested: there is no C++ compiler")
    torch.compiler.reset()
    with torch._inductor.config.patch(force_disable_caches=True):
        yield


@pytest.fixture
def tapes(monkeypatch):
    """Functions are captured on CPUs too."""
    monkeypatch.setitem(capture.RECORDERS, "cpu", Tapes)


@pytest.fixture
def allow(monkeypatch, request):
    """Lets decoders of one kind serve where gradients are not wanted: "tensors", "kernel" or "graph"."""

    def only(kind: str) -> None:
        switch(monkeypatch, kind == "kernel")
        if kind == "graph":
            request.getfixturevalue("tapes")

    return only

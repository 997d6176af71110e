"""Graphed flows, with tapes in the place of CUDA graphs; and the command that checks and measures them on a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.bases import ObservedNormal
from pushforward.models import MAF, NSF, Glow, RealNVP, TarFlow
from tests.kernels import switch
from tests.tape import NoWaits

ROOT = Path(__file__).parents[1]
FLOWS = {
    "RealNVP of vectors": lambda: RealNVP(features=3, context=2, transforms=2, hidden=(8,)).build(),
    "MAF": lambda: MAF(features=3, transforms=2, hidden=(8,)).build(),
    "NSF": lambda: NSF(features=3, transforms=2, hidden=(8,), autoregressive=True).build(),
    "Glow": lambda: Glow(image=(2, 4, 4), levels=2, transforms=1, width=4).build(),
    "TarFlow of labels": lambda: TarFlow(image=(1, 4, 4), patch=2, transforms=2, width=8, depth=1, classes=3).build(),
}
CONTEXTS = {"RealNVP of vectors": torch.ones(5, 2), "TarFlow of labels": torch.tensor([0, 1, 2, -1, 0])}


@pytest.fixture(params=FLOWS)
def asked(request, monkeypatch, tapes):
    """A flow with random weights, and a context."""
    del tapes
    switch(monkeypatch, on=False)
    flow = FLOWS[request.param]()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return flow, CONTEXTS.get(request.param)


@torch.no_grad()
def test_replayed_calls_have_the_bits_of_eager_ones(asked):
    flow, context = asked
    fast = pf.graphed(flow)
    kept = []
    for seed in range(4):
        x = torch.randn(5, *flow.event, generator=torch.Generator().manual_seed(seed))
        found = fast.log_prob(x, context)
        with NoWaits():  # as while a tape records: in place of some operations others are taken, of other rounding
            kept.append((found, flow.log_prob(x, context)))
        torch.testing.assert_close(fast.decode(fast.encode(x, context), context), x, rtol=1e-4, atol=1e-4)
    assert fast.transform.why is None
    assert all(torch.equal(*pair) for pair in kept[1:]), "a later call overwrites no result"


@torch.no_grad()
def test_samples_are_those_of_the_flow(asked):
    flow, context = asked
    fast = pf.graphed(flow)
    shape = () if context is not None else 5
    for seed in range(3):
        expected = flow.sample(shape, context, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(fast.sample(shape, context, generator=torch.Generator().manual_seed(seed)), expected)
    assert fast.transform.why is None


def test_gradients_are_those_of_the_flow(asked):
    flow, context = asked
    fast, x = pf.graphed(flow), torch.randn(5, *flow.event)
    for _ in range(3):
        found, expected = (
            torch.autograd.grad(each.log_prob(x, context).sum(), flow.parameters(), allow_unused=True)
            for each in (fast, flow)
        )
        assert all(a is b or torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert "gradients" in fast.transform.why


@torch.no_grad()
def test_weights_may_be_trained_or_moved_and_guidance_and_solvers_asked_for(asked):
    flow, context = asked
    fast, x = pf.graphed(flow), torch.randn(5, *flow.event)
    for _ in range(3):
        fast.log_prob(x, context)
    for parameter in flow.parameters():
        parameter.mul_(0.5)
    assert torch.equal(fast.log_prob(x, context), flow.log_prob(x, context))
    for parameter in flow.parameters():
        parameter.data = parameter.data * 0.5
    assert torch.equal(fast.log_prob(x, context), flow.log_prob(x, context))
    z = torch.randn(5, *flow.base.event)
    found = fast.decode(z, context, solve=pf.solve.jacobi)
    torch.testing.assert_close(found, flow.decode(z, context), rtol=1e-4, atol=1e-4)
    if flow.classes:
        assert torch.equal(fast.guided(0.5).log_prob(x, context), flow.guided(0.5).log_prob(x, context))


@pytest.mark.parametrize("changed", ["transform", "base"])
@torch.no_grad()
def test_weights_may_be_replaced_by_others(asked, changed):
    flow, context = asked
    flow.base = ObservedNormal(*flow.base.event)
    fast, x = pf.graphed(flow), torch.randn(5, *flow.event)
    for _ in range(3):
        fast.log_prob(x, context)
    assert fast.transform.why is None
    for part in getattr(flow, changed).modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, torch.nn.Parameter(0.5 * parameter))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, 0.5 * buffer if buffer.is_floating_point() else buffer.clone())
    for _ in range(3):
        torch.testing.assert_close(fast.log_prob(x, context), flow.log_prob(x, context))
    assert fast.transform.why is None


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured():
    ended = command()
    assert ended.returncode == 2
    assert "there is no GPU" in ended.stderr


@pytest.mark.slow
def test_the_parts_run_on_a_cpu(tmp_path):
    """Those that check end well; one that overruns is told."""
    page = tmp_path / "gpu.md"
    toy = ("--device", "cpu", "--small", "--out", str(page))
    ended = command(*toy, "--part", "decoders", "captured", "--seconds", "500")
    assert ended.returncode == 0, ended.stderr
    assert "FAILED" not in page.read_text()
    ended = command(*toy, "--part", "vectors", "--seconds", "0.2")
    assert ended.returncode == 1
    assert "stopped after" in page.read_text()

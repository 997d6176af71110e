"""Splines under stress, and beside zuko's and nflows'."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pushforward.moves import CircularSpline, Elementwise, RationalQuadraticSpline
from tests.kernels import switch

BOUND, ELEMENTS = 5.0, 20_000
SPLINE = RationalQuadraticSpline(bins=8, bound=BOUND)


@pytest.fixture(params=["tensors", "kernel"])
def either(request, monkeypatch) -> None:
    """Splines by tensor operations and by the kernel."""
    switch(monkeypatch, request.param == "kernel")


def stressed(dtype: torch.dtype, scale: float, move: Elementwise = SPLINE) -> tuple[Tensor, Tensor]:
    """Places and raw numbers: uniform, on knots, an ulp below and above, at the bounds, outside, far outside."""
    torch.manual_seed(0)
    raw = scale * torch.randn(ELEMENTS, move.params_per_element, dtype=dtype)
    on = move.params(raw).x.gather(-1, torch.randint(9, (ELEMENTS, 1))).squeeze(-1)
    bound = torch.full_like(on, BOUND)
    x = BOUND * (2 * torch.rand(ELEMENTS, dtype=dtype) - 1)
    kinds = (x, on, on.nextafter(on - 1), on.nextafter(on + 1), bound, -bound, bound + 3, 30 * x, 1e4 * x)
    return torch.stack(kinds)[torch.arange(ELEMENTS) % len(kinds), torch.arange(ELEMENTS)], raw


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_the_round_trip_is_within_the_conditioning_limit(dtype, scale):
    x, raw = (t.requires_grad_() for t in stressed(dtype, scale))
    y, log_slopes = SPLINE.forward(x, raw)
    back, back_slopes = SPLINE.inverse(y, raw)
    limit = torch.finfo(dtype).eps * BOUND / log_slopes.exp().clamp(max=1)
    assert ((back - x).abs() <= 4 * limit).all()
    for total in (y.sum() + log_slopes.sum(), back.sum() + back_slopes.sum()):
        assert all(g.isfinite().all() for g in torch.autograd.grad(total, (x, raw), retain_graph=True))
    outside = x.abs() >= BOUND
    assert torch.equal(y[outside], x[outside])
    assert (log_slopes[outside] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_knots_go_to_knots(dtype, monkeypatch):
    """In tensor operations, which these knots are made by: the kernel's may be an ulp away."""
    switch(monkeypatch, on=False)
    raw = 10 * torch.randn(1000, SPLINE.params_per_element, dtype=dtype)
    knots = SPLINE.params(raw)
    for k in range(9):
        y, log_slopes = SPLINE.forward(knots.x[:, k], raw)
        assert torch.equal(y, knots.y[:, k])
        assert torch.equal(SPLINE.inverse(knots.y[:, k], raw)[0], knots.x[:, k])
        torch.testing.assert_close(log_slopes, knots.slope[:, k].log(), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("move", [SPLINE, RationalQuadraticSpline(bins=16), CircularSpline()], ids=repr)
def test_zero_is_the_identity_to_the_last_bit(move):
    for dtype in (torch.float32, torch.float64):
        x = torch.cat([torch.linspace(-6, 6, 1001), torch.logspace(-9, 4, 101), torch.zeros(1)]).to(dtype)
        for door in (move.forward, move.inverse):
            y, log_slopes = door(x, x.new_zeros(len(x), move.params_per_element))
            assert torch.equal(y, x)
            assert (log_slopes == 0).all()


@pytest.mark.usefixtures("either")
def test_value_and_slope_are_continuous_at_the_bounds():
    raw = torch.randn(1000, SPLINE.params_per_element, dtype=torch.float64)
    for bound in (-BOUND, BOUND):
        y, log_slopes = SPLINE.forward(torch.full((1000,), bound * (1 - 1e-9), dtype=torch.float64), raw)
        torch.testing.assert_close(y, torch.full_like(y, bound), rtol=1e-8, atol=0)
        torch.testing.assert_close(log_slopes, torch.zeros_like(y), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("either")
def test_a_circular_spline_closes():
    """It commutes with a full turn, and its slope is continuous where the circle closes."""
    move, x = CircularSpline(), torch.linspace(-3, 3, 100, dtype=torch.float64)
    raw = torch.randn(100, move.params_per_element, dtype=torch.float64)
    y, log_slopes = move.forward(x, raw)
    for turns in (-3, 1, 1000):
        again, again_slopes = move.forward(x + turns * 2 * math.pi, raw)
        torch.testing.assert_close(again, y + turns * 2 * math.pi, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(again_slopes, log_slopes, rtol=1e-6, atol=1e-6)
    seam = torch.full((100,), math.pi, dtype=torch.float64)
    for before, after in zip(move.forward(seam - 1e-9, raw), move.forward(seam + 1e-9, raw), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("either")
def test_agrees_with_zuko():
    """A contrast of 1000 reads raw numbers as zuko does: one map, where its arithmetic is good enough."""
    transforms = pytest.importorskip("zuko.transforms")
    move = RationalQuadraticSpline(bins=8, bound=BOUND, contrast=1000.0)
    x, raw = stressed(torch.float64, 1.0, move)
    theirs = transforms.MonotonicRQSTransform(*raw.split((8, 8, 7), -1), bound=BOUND)
    y, log_slopes = move.forward(x, raw)
    for ours, other in zip((y, log_slopes), theirs.call_and_ladj(x), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(move.inverse(y, raw)[0], theirs.inv(y), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("either")
def test_agrees_with_nflows():
    """On the same knots: theirs are told by logits and softplus, without their least sizes."""
    splines = pytest.importorskip("nflows.transforms.splines")
    x, raw = stressed(torch.float64, 1.0)
    knots = SPLINE.params(raw)
    logits = knots.x.diff().log(), knots.y.diff().log(), knots.slope[:, 1:-1].expm1().log()
    least = {"min_bin_width": 0.0, "min_bin_height": 0.0, "min_derivative": 0.0}
    y, log_slopes = SPLINE.forward(x, raw)
    theirs = splines.unconstrained_rational_quadratic_spline(x, *logits, tail_bound=BOUND, **least)
    back = splines.unconstrained_rational_quadratic_spline(y, *logits, inverse=True, tail_bound=BOUND, **least)
    for ours, other in zip((y, log_slopes, SPLINE.inverse(y, raw)[0]), (*theirs, back[0]), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # inductor's own
@pytest.mark.parametrize("move", [SPLINE, CircularSpline(bins=16)], ids=repr)
@pytest.mark.usefixtures("inductor")
def test_through_inductor(move):
    """Values and gradients: torch 2.13 compiles the gradient of a cumulated softmax wrongly, which splines avoid."""

    def both(x: Tensor, raw: Tensor) -> tuple[Tensor, ...]:
        return *move.forward(x, raw), *move.inverse(x, raw)

    answers = []
    for run in (both, torch.compile(both, fullgraph=True)):
        torch.manual_seed(0)
        x = (2 * torch.randn(64, 32, dtype=torch.float64)).requires_grad_()
        raw = torch.randn(64, 32, move.params_per_element, dtype=torch.float64).requires_grad_()
        values = run(x, raw)
        sum(value.square().sum() for value in values).backward()
        answers.append((*values, x.grad, raw.grad))
    for eager, compiled in zip(*answers, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-9, atol=1e-9)

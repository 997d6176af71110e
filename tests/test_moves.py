"""What every move owes."""

from __future__ import annotations

import pytest
import torch

from pushforward.moves import Affine, Elementwise, Shift

MOVES = {"affine": Affine(), "shift": Shift()}


def parameters(move: Elementwise, x: torch.Tensor, scale: float):
    return move.interpret(scale * torch.randn(*x.shape, move.params_per_element, dtype=x.dtype))


@pytest.fixture(params=MOVES)
def move(request) -> Elementwise:
    return MOVES[request.param]


def test_zero_parameters_are_the_identity(move):
    x = torch.linspace(-1e4, 1e4, 101, dtype=torch.float64)
    for door in (move.forward, move.inverse):
        y, log_slopes = door(x, parameters(move, x, 0.0))
        assert torch.equal(y, x)
        assert torch.all(log_slopes == 0)


def test_inverse_undoes_forward_and_log_slopes_are_derivatives(move):
    x = torch.randn(1000, dtype=torch.float64, requires_grad=True)
    params = parameters(move, x, 1.0)
    y, log_slopes = move.forward(x, params)
    back, back_slopes = move.inverse(y, params)
    torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back_slopes, -log_slopes)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    assert torch.all(slopes > 0), "a move is increasing"
    torch.testing.assert_close(slopes.log(), log_slopes)


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("far", [0.0, 30.0, 1e4])
def test_finite_with_finite_gradients_far_outside(move, scale, far):
    x = (far + torch.randn(1000)).requires_grad_()
    raw = (scale * torch.randn(1000, move.params_per_element)).requires_grad_()
    y, log_slopes = move.forward(x, move.interpret(raw))
    (y.sum() + log_slopes.sum()).backward()
    assert all(t.isfinite().all() for t in (y, log_slopes, x.grad, raw.grad))


def test_parameters_are_at_least_float32(move):
    raw = torch.zeros(3, move.params_per_element, dtype=torch.bfloat16)
    assert all(p.dtype == torch.float32 for p in move.interpret(raw))
    assert all(p.dtype == torch.float64 for p in move.interpret(raw.double()))

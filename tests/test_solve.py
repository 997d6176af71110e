"""Ways back: each keeps the guarantee it states."""

from __future__ import annotations

from functools import partial

import torch

from pushforward.solve import jacobi, one_by_one
from tests.laws.cases import CASES, TOKENS


def test_jacobi_after_k_sweeps_has_the_first_k_tokens():
    step = CASES["autoregressive/affine"].build()
    x = z = CASES["autoregressive/affine"].z(5)
    expected = torch.cat([token for token, _ in one_by_one(step.net, step.move, z)], 1)
    for sweeps in range(1, TOKENS + 1):
        x = step.move.inverse(z, step.move.interpret(step.net(x)))[0]
        torch.testing.assert_close(x[:, :sweeps], expected[:, :sweeps])
    ((x, _),) = jacobi(step.net, step.move, z)
    torch.testing.assert_close(x, expected)


def test_jacobi_stops_early_and_then_has_converged():
    step, case = CASES["autoregressive/affine"].build(), CASES["autoregressive/affine"]
    with torch.no_grad():
        for parameter in step.parameters():
            parameter.mul_(0.2)  # weak dependence on earlier tokens: fewer sweeps than tokens
    calls = []
    step.net.register_forward_hook(lambda *_: calls.append(1))
    z = case.z(5)
    with torch.no_grad():
        ((x, _),) = jacobi(step.net, step.move, z, tolerance=1e-3)
        sweeps = len(calls)
        ((exact, _),) = jacobi(step.net, step.move, z)
    assert sweeps < TOKENS
    torch.testing.assert_close(x, exact, atol=1e-3, rtol=0)


def test_jacobi_survives_overflow_on_the_way():
    step, case = CASES["autoregressive/affine"].build(torch.float32), CASES["autoregressive/affine"]
    with torch.no_grad():
        for parameter in step.net.answer.parameters():
            parameter.mul_(60)
        z = case.z(200, torch.float32)
        first = step.move.inverse(z, step.move.interpret(step.net(z)))[0]
        second = step.move.inverse(z, step.move.interpret(step.net(first.nan_to_num())))[0]
        ((x, _),) = jacobi(step.net, step.move, z)
        expected = torch.cat([token for token, _ in one_by_one(step.net, step.move, z)], 1)
    assert not (first.isfinite().all() and second.isfinite().all()), "nothing overflowed: the test shows nothing"
    finite = expected.isfinite().flatten(1).all(1)
    assert finite.any()
    torch.testing.assert_close(x[finite], expected[finite], rtol=1e-2, atol=1e-2)


def test_tokens_are_streamed():
    step, case = CASES["autoregressive/labels"].build(), CASES["autoregressive/labels"]
    stream = one_by_one(step.net, step.move, case.z(3), case.context(3))
    shapes = [tuple(x.shape) for x, _ in stream]
    assert shapes == [(3, 1, 2)] * TOKENS


def test_partial_gives_a_tolerance():
    """A way back is a function, so its settings are bound to it."""
    case = CASES["autoregressive/affine"]
    step = case.build()
    step.solve = partial(jacobi, tolerance=1e-12)
    x = case.x(2)
    with torch.no_grad():
        torch.testing.assert_close(step.inverse(step(x)[0])[0], x)

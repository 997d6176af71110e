"""All tokens at once, again and again, until nothing changes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pushforward.context import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.shapes import Tokens


def jacobi(
    net: CausalNetwork, move: Move, z: Tokens, context: Context | None = None, *, tolerance: float = 0.0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Fixed-point sweeps x <- move⁻¹(z; net(x)) of parallel passes, from x = z. Yields all tokens at once.

    After k sweeps the first k tokens are exact, so at most as many sweeps as tokens are made. They end earlier when no
    number has changed by more than `tolerance`: at 0 the answer is exact to rounding; above, the last change is what
    is bounded, not the error. Where gradients are wanted every sweep is made, so that they are exact too.
    Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation solving", arXiv:2002.03629.
    """
    x, log_slopes = z, torch.zeros_like(z)
    for _ in range(z.shape[1]):
        before = x
        # a token not yet right may overflow, and would reach the tokens before it as 0 · inf
        x, log_slopes = move.inverse(z, move.interpret(net(before.nan_to_num(), context)))
        if not torch.is_grad_enabled() and (x - before).abs().max() <= tolerance:
            break
    yield x, log_slopes

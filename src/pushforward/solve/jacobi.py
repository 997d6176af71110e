"""Jacobi iteration: all tokens are iterated in parallel until they converge."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.shapes import Tokens
from pushforward.solve.blockwise_jacobi import blockwise_jacobi


def jacobi(
    net: CausalNetwork,
    move: Move,
    z: Tokens,
    context: Context | None = None,
    *,
    warm: bool = False,
    tolerance: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sweeps over all tokens that have not converged. Yields tokens as they converge.

    It is `blockwise_jacobi` with the whole sequence as its window, and has the same guarantee. After k sweeps the first
    k tokens are exact, so there are at most as many sweeps as tokens. With a `warm` start the first guesses of a frame
    in `flow.stream` are the frame before it. Song et al. 2021, arXiv:2002.03629.
    """
    yield from blockwise_jacobi(net, move, z, context, size=z.shape[1], warm=warm, tolerance=tolerance)

"""All tokens at once, again and again, until they have settled."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.shapes import Tokens
from pushforward.solve.blockwise_jacobi import blockwise_jacobi


def jacobi(
    net: CausalNetwork, move: Move, z: Tokens, context: Context | None = None, *, tolerance: float | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sweeps over all tokens that have not settled, from x = z. Yields tokens as they settle.

    After k sweeps the first k tokens are right, so at most as many sweeps as tokens are made; its guarantee is that of
    `blockwise_jacobi`, whose window is here the whole sequence. Song et al. 2021, arXiv:2002.03629.
    """
    yield from blockwise_jacobi(net, move, z, context, size=z.shape[1], tolerance=tolerance)

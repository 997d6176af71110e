"""Token after token, each read once."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.shapes import Tokens


def sequential(
    net: CausalNetwork, move: Move, z: Tokens, context: Context | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Exact. The network reads each token once, but for the last, with a cache: as much arithmetic as one parallel
    pass, in as many calls as there are tokens. Yields one token at a time."""
    cache = net.start(context)
    x = z[:, :0]
    for token in z.split(1, dim=1):
        x, log_slopes = move.inverse(token, move.interpret(net(x, context, cache)[:, -1:]))
        yield x, log_slopes

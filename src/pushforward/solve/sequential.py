"""Sequential decoding: one token after another."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pushforward.capture import Captured
from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork, GraphDecoder
from pushforward.shapes import Tokens


def sequential(
    net: CausalNetwork, move: Move, z: Tokens, context: Context | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Exact. Yields one token at a time. The decoder reads each token but the last once: as much arithmetic as one
    parallel pass, in as many calls as there are tokens."""
    decoder = net.start(len(z), context)
    if isinstance(decoder, GraphDecoder):
        yield from _replayed(decoder, move, z)
        return
    x = None
    for token in z.split(1, dim=1):
        if x is not None:
            decoder.read(x)
        x, log_slopes = move.inverse(token, decoder.answer)
        yield x, log_slopes


@torch.no_grad()
def _replayed(decoder: GraphDecoder, move: Move, z: Tokens) -> Iterator[tuple[Tensor, Tensor]]:
    """The same by a recorded step, which reads the token at `place`, decodes the next one and goes on to it."""
    x, log_slopes = (
        torch.cat([first, first.new_empty(z[:, 1:].shape)], 1) for first in move.inverse(z[:, :1], decoder.answer)
    )
    place = torch.zeros(1, dtype=torch.long, device=z.device)

    def step(length: int) -> None:
        answer = decoder.advance(x.index_select(1, place), place, length)
        place.add_(1)
        for memory, token in zip((x, log_slopes), move.inverse(z.index_select(1, place), answer), strict=True):
            memory.index_copy_(1, place, token)

    captured = Captured(step, z.device)
    yield x[:, :1], log_slopes[:, :1]
    for token in range(1, z.shape[1]):
        captured(decoder.reach(token))
        yield x[:, token : token + 1], log_slopes[:, token : token + 1]

"""Sequential decoding: one token after another."""

from collections.abc import Callable, Iterator

from torch import Tensor

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork, GraphDecoder
from pushforward.shapes import Tokens
from pushforward.solve import replayed

Solve = Callable[[CausalNetwork, Move, Tensor, Context | None], Iterator[tuple[Tensor, Tensor]]]  # see `solve`
FEWEST = 4  # tokens for which a step is not recorded: two steps are run before the first replay


def sequential(
    net: CausalNetwork, move: Move, z: Tokens, context: Context | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Exact. Yields one token at a time. The decoder reads each token but the last once: as much arithmetic as one
    parallel pass, in as many calls as there are tokens."""
    decoder = net.start(z.shape[0], context)
    if isinstance(decoder, GraphDecoder) and z.shape[1] > FEWEST:
        yield from replayed.steps(decoder, move, z)
        return
    x = None
    for token in z.split(1, dim=1):
        if x is not None:
            decoder.read(x)
        x, log_slopes = move.inverse(token, decoder.answer)
        yield x, log_slopes

"""A decoder whose every read is the same computation on the same memory, so that it can be recorded and replayed.

Memory is of fixed size, and the place of a token is a tensor. A solver records a step that reads a token, inverts the
move and writes the next token, and replays it from token to token.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward import capture
from pushforward.kernels import serving
from pushforward.networks.decoder import Decoder

LENGTHS, SHORTEST = 4, 128  # how many lengths of memory are recorded, and the shortest: more read less, and cost more
ALIGNED = 16  # lengths are multiples of it, as fast attention takes its masks

Advance = Callable[[Tensor, Tensor, int], Tensor]


class GraphDecoder(Decoder):
    """Reads tokens at places that are a tensor.

    advance(x, places, length) reads tokens x (B, n, …) at `places` (n,), integers on the device, and returns the raw
    parameters of the tokens after each, (B, n, *raw). It attends to the first `length` tokens of its memory, which
    include them. What it launches depends on the shapes and on `length` alone, and it waits for nothing.
    """

    kind = "graph"

    def __init__(self, advance: Advance, answer: Tensor, tokens: int):
        """`answer` (B, 1, *raw) is that of the first token."""
        super().__init__(answer, tokens)
        self.advance = advance

    def reach(self, tokens: int) -> int:
        """The shortest length of memory, of those that are recorded, that has `tokens` tokens."""
        assert self.tokens is not None
        step = max(aligned(-(-self.tokens // LENGTHS)), SHORTEST)
        return min(-(-tokens // step) * step, aligned(self.tokens))

    def _read(self, x: Tensor) -> Tensor:
        stop = self.length + x.shape[1]
        return self.advance(x, torch.arange(self.length, stop, device=x.device), self.reach(stop))


def aligned(tokens: int) -> int:
    """So many tokens, rounded up to a length of memory that fast attention takes."""
    return -(-tokens // ALIGNED) * ALIGNED


def serves(*weights: Tensor) -> bool:
    """Whether a decoder of these weights may be recorded: on a device of graphs, where no gradient is needed."""
    return (
        not torch.is_grad_enabled()
        and capture.hindrance(weights[0].device) is None
        and all(type(t) in serving.KINDS and t.device == weights[0].device for t in weights)
    )

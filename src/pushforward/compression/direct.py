"""Direct coding of integers by a flow of one autoregressive step: no bits back and no noise.

    P(v_i = k | values before) = Φ(y_i(k + 1)) − Φ(y_i(k))        y_i(k) = move(2k / levels − 1; raw_i)

The network reads the centres of the bins of the tokens before, and the first and the last bin reach to infinity. So it
is a model of integers, of its own stated bits: −sum log₂ P. It is not the flow's bound, which has noise in these bins.
A language model has these probabilities as they are, the softmax of raw_i, and there the bits are those of the bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.codecs import Codec, TokenCells, UniformDequantization
from pushforward.codecs.integers import bin_centres
from pushforward.compression.stack import Stack
from pushforward.compression.steps import Grid, Rearranged, Sequential, steps_of
from pushforward.moves import Categorical
from pushforward.transform import Transform

LEVELS = 256  # of pixels, at most


@dataclass(frozen=True)
class Direct:
    """Integers 0 … levels − 1 by one step, after rearrangements."""

    levels: int
    before: Sequence[Rearranged]
    step: Sequential
    event: tuple[int, ...]
    grid: Grid = Grid(0, 0.0)  # integers need none

    def encode(self, data: Tensor, stack: Stack) -> None:
        tokens, tables = self.tables(data)
        for token, table in zip(reversed(tokens), reversed(tables), strict=True):
            stack.push_choice(token.reshape(-1).numpy(), table)

    def decode(self, rows: int, stack: Stack) -> Tensor:
        places, found = self._tokens(torch.zeros(rows, *self.event, dtype=torch.long, device="cpu")), []
        decoder = self.step.net.start(rows, None)
        for place in places:
            if found:
                decoder.read(bin_centres(found[-1].double(), self.levels))
            found.append(torch.from_numpy(stack.pop_choice(self._table(decoder.answer))).view(place.shape))
        v = torch.cat(found, 1)
        for part in reversed(self.before):
            v = part.back(v)
        return v

    def tables(self, data: Tensor) -> tuple[Sequence[Tensor], list[np.ndarray]]:
        """The tokens of the data, and the probabilities of all levels for the elements of each."""
        tokens = self._tokens(data.long())
        decoder = self.step.net.start(len(data), None)
        tables = [self._table(decoder.answer)]
        tables += [self._table(decoder.read(bin_centres(token.double(), self.levels))) for token in tokens[:-1]]
        return tokens, tables

    def _tokens(self, v: Tensor) -> Sequence[Tensor]:
        for part in self.before:
            v = part.there(v)
        return v.split(1, 1)

    def _table(self, raw: Tensor) -> np.ndarray:
        """(elements, levels) for the raw parameters of a token, (rows, 1, …, parameters)."""
        edges = 2 * torch.arange(1, self.levels, dtype=torch.float64, device=raw.device) / self.levels - 1
        if isinstance(self.step.move, Categorical) and self.step.move.cells == self.levels:
            return self.step.move.params(raw).exp().reshape(-1, self.levels).numpy()
        shape = (*raw.shape[:-1], len(edges))
        y, _ = self.step.move.forward(edges.expand(shape), raw[..., None, :].expand(*shape, raw.shape[-1]))
        cdf = F.pad(F.pad(torch.special.ndtr(y), (1, 0)), (0, 1), value=1.0)
        return cdf.diff().clamp(min=0).reshape(-1, self.levels).numpy()


def direct(codec: Codec, transform: Transform, event: tuple[int, ...]) -> Direct | None:
    """The direct coder of a flow; None where it has not one autoregressive step alone, or too many levels."""
    if not isinstance(codec, UniformDequantization | TokenCells):
        return None
    steps = list(steps_of(transform))
    if isinstance(codec, TokenCells):  # whose events have one feature a token
        steps, event = [Rearranged(lambda v: v[..., None], lambda v: v[..., 0]), *steps], event[:-1]
    elif codec.levels > LEVELS:
        return None
    places = [i for i, step in enumerate(steps) if isinstance(step, Sequential)]
    others = [step for step in steps if isinstance(step, Rearranged)]
    if len(places) != 1 or len(others) != len(steps) - 1:
        return None
    one = steps[places[0]]
    assert isinstance(one, Sequential)
    return Direct(codec.levels, others[: places[0]], one, event)

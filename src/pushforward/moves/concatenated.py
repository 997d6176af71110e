"""Two moves beside each other, for numbers of two kinds: those on circles and those on the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.moves.move import Elementwise


class ConcatenatedParams(NamedTuple):
    """The parameters of both moves."""

    first: Any
    rest: Any


@dataclass(frozen=True)
class Concatenated(Elementwise):
    """The first `count` numbers of a token go by one move, the rest by another.

    raw holds for every number as many as the greedier of the two needs; the other leaves some unread.

    >>> from pushforward.moves import Affine, CircularSpline
    >>> Concatenated(2, CircularSpline(bins=8), Affine()).params_per_element
    25
    """

    count: int
    first: Elementwise
    rest: Elementwise

    @property
    def params_per_element(self) -> int:
        return max(self.first.params_per_element, self.rest.params_per_element)

    def interpret(self, raw: Tensor) -> ConcatenatedParams:
        first, rest = raw.tensor_split((self.count,), -2)
        return ConcatenatedParams(
            self.first.interpret(first[..., : self.first.params_per_element]),
            self.rest.interpret(rest[..., : self.rest.params_per_element]),
        )

    def forward(self, x: Tensor, params: ConcatenatedParams) -> tuple[Tensor, Tensor]:
        return self._both(self.first.forward, self.rest.forward, x, params)

    def inverse(self, y: Tensor, params: ConcatenatedParams) -> tuple[Tensor, Tensor]:
        return self._both(self.first.inverse, self.rest.inverse, y, params)

    def outside(self, x: Tensor) -> Tensor | None:
        parts = zip((self.first, self.rest), x.tensor_split((self.count,), -1), strict=True)
        found = [outside.flatten() for move, part in parts if (outside := move.outside(part)) is not None]
        return torch.cat(found) if found else None

    def _both(self, first: Callable, rest: Callable, x: Tensor, params: ConcatenatedParams) -> tuple[Tensor, Tensor]:
        one, other = x.tensor_split((self.count,), -1)
        (one, slopes), (other, more) = first(one, params.first), rest(other, params.rest)
        return torch.cat([one, other], -1), torch.cat([slopes, more], -1)

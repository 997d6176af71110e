"""Two moves for features of two kinds, such as those on circles and those on the line."""

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
    """The first `count` features of a token move by `first`, the others by `rest`.

    Every feature has as many raw parameters as the move that needs more of them; the other move ignores the last ones.

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

    def params(self, raw: Tensor) -> ConcatenatedParams:
        first, rest = self._split(raw)
        return ConcatenatedParams(self.first.params(first), self.rest.params(rest))

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._both(self.first.forward, self.rest.forward, x, raw)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._both(self.first.inverse, self.rest.inverse, y, raw)

    def outside(self, x: Tensor) -> Tensor | None:
        parts = zip((self.first, self.rest), x.tensor_split((self.count,), -1), strict=True)
        found = [outside.flatten() for move, part in parts if (outside := move.outside(part)) is not None]
        return torch.cat(found) if found else None

    def _both(self, first: Callable, rest: Callable, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        (one, other), (raw_one, raw_other) = x.tensor_split((self.count,), -1), self._split(raw)
        (one, slopes), (other, more) = first(one, raw_one), rest(other, raw_other)
        return torch.cat([one, other], -1), torch.cat([slopes, more], -1)

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        first, rest = raw.tensor_split((self.count,), -2)
        return first[..., : self.first.params_per_element], rest[..., : self.rest.params_per_element]

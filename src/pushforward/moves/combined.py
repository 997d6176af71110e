"""Moves made of other moves: one after another, side by side, and at a temperature."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.moves.categorical import Categorical
from pushforward.moves.mixd import MixD
from pushforward.moves.move import Elementwise, Move


class Both(NamedTuple):
    """The parameters of two moves."""

    first: Any
    second: Any


@dataclass(frozen=True)
class Composed(Elementwise):
    """y = second(first(x)). raw holds the raw parameters of the first move, then those of the second.

    Composed(LogisticMixture(32), Affine(Tanh(1.0))) is the move of Flow++ (Ho et al. 2019, arXiv:1902.00275).

    >>> from pushforward.moves import Affine, Shift
    >>> Composed(Shift(), Affine()).params_per_element
    3
    """

    first: Elementwise
    second: Elementwise

    @property
    def params_per_element(self) -> int:
        return self.first.params_per_element + self.second.params_per_element

    def params(self, raw: Tensor) -> Both:
        first, second = self._split(raw)
        return Both(self.first.params(first), self.second.params(second))

    def outside(self, x: Tensor) -> Tensor | None:
        return self.first.outside(x)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self._split(raw)
        between, log_slopes = self.first.forward(x, first)
        y, more = self.second.forward(between, second)
        return y, log_slopes + more

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self._split(raw)
        between, log_slopes = self.second.inverse(y, second)
        x, more = self.first.inverse(between, first)
        return x, log_slopes + more

    def _split(self, raw: Tensor) -> tuple[Tensor, ...]:
        return raw.tensor_split((self.first.params_per_element,), -1)


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

    def params(self, raw: Tensor) -> Both:
        first, rest = self._split(raw)
        return Both(self.first.params(first), self.rest.params(rest))

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._halves(self.first.forward, self.rest.forward, x, raw)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._halves(self.first.inverse, self.rest.inverse, y, raw)

    def outside(self, x: Tensor) -> Tensor | None:
        parts = zip((self.first, self.rest), x.tensor_split((self.count,), -1), strict=True)
        found = [outside.flatten() for move, part in parts if (outside := move.outside(part)) is not None]
        return torch.cat(found) if found else None

    def _halves(self, first: Callable, rest: Callable, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        (one, other), (raw_one, raw_other) = x.tensor_split((self.count,), -1), self._split(raw)
        (one, slopes), (other, more) = first(one, raw_one), rest(other, raw_other)
        return torch.cat([one, other], -1), torch.cat([slopes, more], -1)

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        first, rest = raw.tensor_split((self.count,), -2)
        return first[..., : self.first.params_per_element], rest[..., : self.rest.params_per_element]


class Tempered(nn.Module, Move):
    """A move whose raw parameters are logits, divided by a temperature: below 1 likely tokens become likelier.

    >>> from pushforward.moves import Categorical
    >>> Tempered(Categorical(2), 0.5).params(torch.tensor([0.0, 1.0])).exp()
    tensor([0.1192, 0.8808])
    """

    def __init__(self, move: Categorical | MixD, temperature: float):
        super().__init__()
        check_number(temperature, "temperature", above=0)
        self.move, self.temperature = move, temperature

    def raw_shape(self, features: int) -> tuple[int, ...]:
        return self.move.raw_shape(features)

    def params(self, raw: Tensor) -> Any:
        return self.move.params(raw / self.temperature)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self.move.forward(x, raw / self.temperature)

    def log_density(self, x: Tensor, raw: Tensor) -> Tensor:
        return self.move.log_density(x, raw / self.temperature)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self.move.inverse(y, raw / self.temperature)

    def extra_repr(self) -> str:
        return f"move={type(self.move).__name__}, temperature={self.temperature:g}"

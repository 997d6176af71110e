"""One move after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from pushforward.moves.move import Elementwise


class ComposedParams(NamedTuple):
    """The parameters of both moves."""

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

    def params(self, raw: Tensor) -> ComposedParams:
        first, second = self._split(raw)
        return ComposedParams(self.first.params(first), self.second.params(second))

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

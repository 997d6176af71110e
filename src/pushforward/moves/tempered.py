"""A temperature of the weights of a move."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.moves.categorical import Categorical
from pushforward.moves.mixd import MixD
from pushforward.moves.move import Move


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

"""Tokens of text as events: a cell of [−1, 1] for each."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.codecs.base import Codec
from pushforward.codecs.integers import as_integers, as_real, bin_centres, bins, check_levels
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample

EDGE = 1 / 64  # of a cell


@dataclass(frozen=True)
class TokenCells(Codec):
    """Uniform noise inside each token's cell: x = 2 (k + u) / vocabulary − 1, u in [0, 1), one feature a token.

    For `models.AutoregressiveLM`, whose density is constant in each cell: then the bound is log P itself. The noise
    leaves out the 64th of a cell at its edges, where rounding could reach the next. Tokens are integers (B, T), events
    (B, T, 1).

    >>> TokenCells(65).decode(TokenCells(65).encode(torch.tensor([[3, 64]]))[0])
    tensor([[ 3, 64]])
    """

    vocabulary: int
    unit: str = "nats/token"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self):
        check_levels(self.vocabulary)

    @property
    def levels(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.vocabulary

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        k = as_real(data, self.vocabulary)[..., None]
        u = draw(torch.rand, tuple(k.shape), k, generator).clamp(EDGE, 1 - EDGE)
        x = 2 * (k + u) / self.vocabulary - 1
        return x, x.new_full((len(x),), x.shape[1:].numel() * math.log(self.vocabulary / 2))

    def decode(self, x: Events) -> Tensor:
        return as_integers(bins(x[..., 0], self.vocabulary), self.vocabulary).long()

    def clean(self, data: Tensor) -> Events:
        return bin_centres(as_real(data, self.vocabulary), self.vocabulary)[..., None]

    def small(self, image: tuple[int, ...] | None = None) -> Codec:
        return TokenCells(min(self.vocabulary, 8), self.unit)

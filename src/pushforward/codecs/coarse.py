"""Images of fewer grey levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.codecs.base import Codec
from pushforward.codecs.integers import IntegerCodec, as_integers, as_real
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample


@dataclass(frozen=True)
class Coarse(IntegerCodec):
    """Reduces integers 0 … levels − 1 to the levels of the codec `coarse`: v -> floor(v · coarse.levels / levels).

    Bits/dim are those of the reduced integers, as for the five-bit images in Kingma & Dhariwal 2018 (Glow),
    arXiv:1807.03039.

    >>> from pushforward.codecs import UniformDequantization
    >>> five_bits = Coarse(UniformDequantization(32))
    >>> five_bits.decode(five_bits.encode(torch.tensor([[7, 8, 255]]))[0])
    tensor([[  0,   8, 248]], dtype=torch.uint8)
    """

    coarse: Codec
    levels: int = 256  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self):
        if self.coarse.levels < 2 or self.levels % self.coarse.levels:
            raise ValueError(f"{self.levels} grey levels do not become {self.coarse.levels} of equal width.")

    @property
    def noise_sigma(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.coarse.noise_sigma

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        return self.coarse.encode(self._coarsened(data), generator)

    def decode(self, x: Events) -> Tensor:
        v = self.coarse.decode(x).long() * (self.levels // self.coarse.levels)
        return as_integers(v, self.levels)

    def clean(self, data: Tensor) -> Events:
        return self.coarse.clean(self._coarsened(data))

    def _coarsened(self, data: Tensor) -> Tensor:
        as_real(data, self.levels)  # raises ValueError where the data are not integers 0 … levels − 1
        return torch.div(data.int(), self.levels // self.coarse.levels, rounding_mode="floor")

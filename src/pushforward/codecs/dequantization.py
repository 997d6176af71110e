"""Uniform dequantization."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.codecs.integers import IntegerCodec, as_integers, as_real, bin_centres, bins, check_levels, in_bins
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample


@dataclass(frozen=True)
class UniformDequantization(IntegerCodec):
    """Uniform noise inside each integer's bin: x = 2 (v + u) / levels − 1, u in [0, 1).

    Bins do not overlap, so log_q = n log(levels / 2) for n integers. Theis et al. 2016, arXiv:1511.01844.

    >>> x, log_q = UniformDequantization(256).encode(torch.tensor([[0, 128]]))
    >>> UniformDequantization(256).decode(x)
    tensor([[  0, 128]], dtype=torch.uint8)
    """

    levels: int

    def __post_init__(self):
        check_levels(self.levels)

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = as_real(data, self.levels)
        x = in_bins(v, draw(torch.rand, v.shape, v, generator), self.levels)
        return x, x.new_full((len(x),), x.shape[1:].numel() * math.log(self.levels / 2))

    def decode(self, x: Events) -> Tensor:
        return as_integers(bins(x, self.levels), self.levels)

    def clean(self, data: Tensor) -> Events:
        return bin_centres(as_real(data, self.levels), self.levels)

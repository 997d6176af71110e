"""Gaussian noise, for flows whose samples will be denoised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.codecs.integers import IntegerCodec, as_integers, as_real, check_levels, placed
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample, sum_event


@dataclass(frozen=True)
class GaussianNoise(IntegerCodec):
    """Gaussian noise added to each integer's position: x = 2 v / (levels − 1) − 1 + sigma · noise.

    The noise of neighbouring levels overlaps, so P(v | x) is that of Bayes' rule with a uniform prior: log_q is the sum
    over elements of log sum_k N(x; k, sigma²), over the levels k. For flows whose samples will be denoised: Zhai et al.
    2024, arXiv:2412.06329.

    >>> GaussianNoise(256, sigma=0.05).clean(torch.tensor([[0, 255]]))
    tensor([[-1.,  1.]])
    """

    levels: int
    sigma: float  # on [−1, 1]

    def __post_init__(self):
        check_levels(self.levels)
        if not self.sigma > 0:
            raise ValueError(f"Gaussian noise needs a sigma above 0; got {self.sigma}.")

    @property
    def noise_sigma(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sigma

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = as_real(data, self.levels)
        x = placed(v, self.levels) + self.sigma * draw(torch.randn, v.shape, v, generator)
        reach = min(self.levels - 1, math.ceil(4 * self.sigma * self.levels))  # levels beyond eight sigma add nothing
        total = torch.zeros_like(x)
        for k in range(-reach, reach + 1):
            neighbour = placed(v + k, self.levels)
            inside = neighbour.abs() <= 1
            total += inside * torch.exp(-0.5 * ((x - neighbour) / self.sigma).square())
        return x, sum_event(total.log() - math.log(self.sigma * math.sqrt(2 * math.pi)))

    def decode(self, x: Events) -> Tensor:
        return as_integers(((x + 1) * (self.levels - 1) / 2).round(), self.levels)

    def clean(self, data: Tensor) -> Events:
        return placed(as_real(data, self.levels), self.levels)

"""Gaussian noise, for flows whose samples will be denoised."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.codecs.integers import IntegerCodec, as_integers, as_real, check_levels, placed
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample, sum_event


@dataclass(frozen=True)
class GaussianNoise(IntegerCodec):
    """Gaussian noise added to each integer's position: x = 2 v / (levels − 1) − 1 + sigma · noise.

    The noise of neighbouring levels overlaps, so P(v | x) is that of Bayes' rule with a uniform prior: log_q is the sum
    over elements of log sum_k N(x; k, sigma²), over the levels k: see `log_sum_of_normals`. For flows whose samples
    will be denoised: Zhai et al. 2024, arXiv:2412.06329.

    >>> GaussianNoise(256, sigma=0.05).clean(torch.tensor([[0, 255]]))
    tensor([[-1.,  1.]])
    """

    levels: int
    sigma: float  # on [−1, 1]

    def __post_init__(self):
        check_levels(self.levels)
        check_number(self.sigma, "sigma", above=0)

    @property
    def noise_sigma(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sigma

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = as_real(data, self.levels)
        x = placed(v, self.levels) + self.sigma * draw(torch.randn, v.shape, v, generator)
        return x, sum_event(log_sum_of_normals(x, self.levels, self.sigma))

    def decode(self, x: Events) -> Tensor:
        return as_integers(((x + 1) * (self.levels - 1) / 2).round(), self.levels)

    def clean(self, data: Tensor) -> Events:
        return placed(as_real(data, self.levels), self.levels)


def log_sum_of_normals(x: Tensor, levels: int, sigma: float) -> Tensor:
    """log sum_k N(x; k, sigma²) over the levels k, which are equally spaced on [−1, 1]; of x's shape.

    With h = 2 / (levels − 1) / sigma, the levels' distance in sigmas, it is a sum over the levels nearest to x where h
    is large: those beyond 6 sigma add less than 1e-8 of it. Where h is small it is an integral between the bins' outer
    edges, with corrections there (Euler–Maclaurin). In exact arithmetic the error is below 3e-8 for x up to 7 sigma
    outside of [−1, 1].
    """
    h = 2 / (levels - 1) / sigma
    total = _integrated(x, sigma, h) if h < SPACED else _summed(x, levels, sigma, h)
    return total.log() - math.log(sigma * math.sqrt(2 * math.pi))


SPACED = 0.16  # levels that are so many sigmas apart are summed: 77 of them, or fewer


def _summed(x: Tensor, levels: int, sigma: float, h: float) -> Tensor:
    """sum_k exp(−((x − k) / sigma)² / 2) over the levels k nearest to x."""
    reach = min(levels - 1, math.ceil(6 / h))
    nearest = ((x + 1) * (levels - 1) / 2).round().clamp(0, levels - 1)
    k = nearest[..., None] + torch.arange(-reach, reach + 1, device=x.device)
    terms = torch.exp(-0.5 * ((x[..., None] - placed(k, levels)) / sigma).square())
    return torch.where((k >= 0) & (k < levels), terms, 0).sum(-1)


def _integrated(x: Tensor, sigma: float, h: float) -> Tensor:
    """The same, by the integral of f(u) = exp(−u² / 2) from a to b, half a bin outside of the first and last level:

    h · sum f = integral + [−h²/24 f⁽¹⁾ + 7 h⁴/5760 f⁽³⁾ − 31 h⁶/967680 f⁽⁵⁾ + 127 h⁸/154828800 f⁽⁷⁾] from a to b
    """
    x = -x.abs()  # by symmetry: then the integral is not a difference of numbers near 1 where x is outside of [−1, 1]
    ends = []
    for u in ((-1 - x) / sigma - h / 2, (1 - x) / sigma + h / 2):
        u2 = u.square()
        corrections = (
            h**2 / 24
            - 7 * h**4 / 5760 * (u2 - 3)
            + 31 * h**6 / 967680 * ((u2 - 10) * u2 + 15)
            - 127 * h**8 / 154828800 * (((u2 - 21) * u2 + 105) * u2 - 105)
        )
        ends.append(u * torch.exp(-0.5 * u2) * corrections - math.sqrt(math.pi / 2) * torch.erfc(u / math.sqrt(2)))
    return (ends[1] - ends[0]) / h

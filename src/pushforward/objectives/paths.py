"""Paths from noise to data, along which flow matching learns a velocity.

    x_t = a(t) x + b(t) z,        dx_t/dt = a'(t) x + b'(t) z,        t from 0, noise z, to 1, data x

with a(0) = b(1) = 0 and a(1) = b(0) = 1. Lipman et al. 2023, arXiv:2210.02747; Albergo & Vanden-Eijnden 2023,
arXiv:2209.15571.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp

from pushforward.shapes import Events, PerSample, spread


class Coefficients(NamedTuple):
    """Of data and noise, and their derivatives in t: (batch,) each."""

    data: PerSample
    noise: PerSample
    data_rate: PerSample
    noise_rate: PerSample


class Path(ABC):
    """The contract of a path: a frozen dataclass."""

    @abstractmethod
    def coefficients(self, t: PerSample) -> Coefficients:
        """a(t), b(t), a'(t), b'(t)."""

    def point(self, t: PerSample, noise: Events, data: Events) -> tuple[Events, Events]:
        """x_t and dx_t/dt, (batch, *event) each, at times t (batch,)."""
        a, b, a_rate, b_rate = (spread(c, data) for c in self.coefficients(t))
        return a * data + b * noise, a_rate * data + b_rate * noise


@dataclass(frozen=True)
class Linear(Path):
    """x_t = t x + (1 − t) z: straight lines. Liu et al. 2023, arXiv:2209.03003.

    >>> Linear().point(torch.tensor([0.25]), torch.zeros(1, 2), torch.ones(1, 2))
    (tensor([[0.2500, 0.2500]]), tensor([[1., 1.]]))
    """

    def coefficients(self, t: PerSample) -> Coefficients:
        one = torch.ones_like(t)
        return Coefficients(t, 1 - t, one, -one)


@dataclass(frozen=True)
class VariancePreserving(Path):
    """x_t = sin(πt/2) x + cos(πt/2) z, of variance 1 at all times where data have it. Albergo & Vanden-Eijnden 2023."""

    def coefficients(self, t: PerSample) -> Coefficients:
        angle = math.pi / 2 * t
        sin, cos = angle.sin(), angle.cos()
        return Coefficients(sin, cos, math.pi / 2 * cos, -math.pi / 2 * sin)


@dataclass(frozen=True)
class General(Path):
    """x_t = a(t) x + b(t) z, of two functions of tensors, differentiated by torch.

    Raises ValueError where the ends are not those of a path from noise to data, to a thousandth.

    >>> General(lambda t: t**2, lambda t: 1 - t**2).point(torch.tensor([0.5]), torch.zeros(1, 1), torch.ones(1, 1))
    (tensor([[0.2500]]), tensor([[1.]]))
    """

    a: Callable[[Tensor], Tensor]
    b: Callable[[Tensor], Tensor]

    def __post_init__(self):
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device="cpu")
        found = torch.stack([self.a(ends), self.b(ends)])
        if not torch.allclose(found, torch.stack([ends, 1 - ends]), rtol=0, atol=1e-3):
            raise ValueError(
                f"a path has a(0) = b(1) = 0 and a(1) = b(0) = 1; got a = {found[0].tolist()} and b = "
                f"{found[1].tolist()} at t = 0, 1."
            )

    def coefficients(self, t: PerSample) -> Coefficients:
        one = torch.ones_like(t)
        a, a_rate, *_ = jvp(self.a, (t,), (one,))
        b, b_rate, *_ = jvp(self.b, (t,), (one,))
        return Coefficients(a, b, a_rate, b_rate)

"""Mixture moves: the distribution function of a mixture, and then the quantile function of one component.

    y = G⁻¹(F(x))        F(x) = sum_k w_k G((x − mean_k) / scale_k)

If x has the mixture's distribution, y has distribution function G, the standard logistic or normal one. Components of
mean 0 and scale 1 give the identity. Component k alone would map mean_k + scale_k y to y, so the inverse lies between
the least and the greatest of these.

Where F is above a half, all signs are mirrored, so that F is never near 1 and both tails keep their precision. With the
hazard h = G'/G the log-slope has no difference of large terms either,

    log dy/dx = log sum_k r_k h((x − mean_k) / scale_k) / scale_k − log h(y)        r_k = softmax of log w_k G(…)

`mixture_forward` and `mixture_inverse` compute these formulas from `MixtureParams`; `log_mixture` is the log-density
alone, without distribution functions. Ho et al. 2019 (Flow++, logistic), arXiv:1902.00275; there an affine move
follows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.moves.bounds import SoftClip
from pushforward.moves.bracketed import inverted
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32

FAR = -80.0  # a log-probability whose exponential float32 still holds at full precision


class MixtureParams(NamedTuple):
    """(*, components) each; the weights of a mixture sum to one."""

    log_weight: Tensor
    mean: Tensor
    log_scale: Tensor


class Component(ABC):
    """A distribution function G, symmetric about 0 and of scale 1. A mixture's components are G shifted and scaled."""

    @staticmethod
    @abstractmethod
    def cdf(t: Tensor) -> Tensor:
        """G(t)."""

    @staticmethod
    @abstractmethod
    def log_pdf(t: Tensor) -> Tensor:
        """log G'(t)."""

    @staticmethod
    @abstractmethod
    def log_cdf_and_hazard(t: Tensor) -> tuple[Tensor, Tensor]:
        """log G(t), in full precision for t < 0, and log G'(t) / G(t)."""

    @classmethod
    def log_cdf(cls, t: Tensor) -> Tensor:
        """log G(t)."""
        return cls.log_cdf_and_hazard(t)[0]

    @classmethod
    def log_hazard(cls, t: Tensor) -> Tensor:
        """log G'(t) / G(t)."""
        return cls.log_cdf_and_hazard(t)[1]

    @staticmethod
    @abstractmethod
    def quantile(log_p: Tensor) -> Tensor:
        """The t with log G(t) = log_p, for p ≤ 1/2."""


class Logistic(Component):
    @staticmethod
    def cdf(t: Tensor) -> Tensor:
        return torch.sigmoid(t)

    @staticmethod
    def log_pdf(t: Tensor) -> Tensor:
        return F.logsigmoid(t) + F.logsigmoid(-t)

    @staticmethod
    def log_cdf_and_hazard(t: Tensor) -> tuple[Tensor, Tensor]:
        return F.logsigmoid(t), F.logsigmoid(-t)

    @staticmethod
    def quantile(log_p: Tensor) -> Tensor:
        return log_p - torch.log1p(-log_p.exp())


class Gaussian(Component):
    @staticmethod
    def cdf(t: Tensor) -> Tensor:
        return torch.special.ndtr(t)

    @staticmethod
    def log_pdf(t: Tensor) -> Tensor:
        return -0.5 * (t.square() + math.log(2 * math.pi))

    @staticmethod
    def log_cdf_and_hazard(t: Tensor) -> tuple[Tensor, Tensor]:
        """By G(t) = exp(−t²/2) erfcx(−t/√2) / 2 below zero. torch's own log_ndtr has a wrong gradient far below."""
        low, high = t.clamp(max=0), t.clamp(min=0)
        scaled = torch.special.erfcx(-low / math.sqrt(2)).log()
        upper = torch.log1p(-0.5 * torch.special.erfc(high / math.sqrt(2)))
        log_cdf = torch.where(t < 0, scaled - 0.5 * low.square() - math.log(2), upper)
        log_hazard = torch.where(t < 0, 0.5 * math.log(2 / math.pi) - scaled, Gaussian.log_pdf(high) - upper)
        return log_cdf, log_hazard

    @staticmethod
    def quantile(log_p: Tensor) -> Tensor:
        """A first guess, asymptotic for small p, then two Newton steps of first derivatives, and one of second ones."""
        with torch.no_grad():
            square = -2 * log_p.clamp(max=FAR) - math.log(2 * math.pi)
            t = torch.where(log_p > FAR, torch.special.ndtri(log_p.exp()), -(square - square.log()).sqrt())
        for _ in range(3):
            log_cdf, log_hazard = Gaussian.log_cdf_and_hazard(t)
            t = t - (log_cdf - log_p) * torch.exp(-log_hazard.detach())
        return t


def mixture_forward(x: Tensor, params: MixtureParams, component: type[Component]) -> tuple[Tensor, Tensor]:
    """x (*) -> y and log dy/dx (*), for parameters (*, components)."""
    log_weight, mean, log_scale = params
    place = (x[..., None] - mean) * torch.exp(-log_scale)
    upper = (log_weight.detach().exp() * component.cdf(place.detach())).sum(-1) > 0.5
    side = 1 - 2 * upper.to(place.dtype)
    place = place * side[..., None]
    log_cdfs, log_hazards = component.log_cdf_and_hazard(place)
    log_cdfs = log_weight + log_cdfs
    y = component.quantile(log_cdfs.logsumexp(-1))
    slopes = log_cdfs.log_softmax(-1) + log_hazards - log_scale
    return side * y, slopes.logsumexp(-1) - component.log_hazard(y)


def mixture_inverse(y: Tensor, params: MixtureParams, component: type[Component]) -> tuple[Tensor, Tensor]:
    """y (*) -> x and log dx/dy (*), for parameters (*, components)."""
    y = at_least_float32(y)
    log_weight, mean, log_scale = params

    def newton(x: Tensor) -> tuple[Tensor, Tensor]:
        """On the scale of log G, or of log (1 − G) where y > 0."""
        side = 1 - 2 * (y > 0).to(y.dtype)
        place = (x[..., None] - mean) * torch.exp(-log_scale) * side[..., None]
        tail = (log_weight + component.log_cdf(place)).logsumexp(-1)
        density = (log_weight + component.log_pdf(place) - log_scale).logsumexp(-1)
        residual = side * (component.log_cdf(-y.abs()) - tail)
        return residual, residual * torch.exp(tail - density)

    def ends(y: Tensor) -> tuple[Tensor, Tensor]:
        alone = mean + log_scale.exp() * y[..., None]
        return alone.amin(-1), alone.amax(-1)

    return inverted(y, lambda x: mixture_forward(x, params, component), newton, ends)


def log_mixture(x: Tensor, params: MixtureParams, component: type[Component]) -> Tensor:
    """The log-density of the mixture at x (*), in nats, for parameters (*, components)."""
    log_weight, mean, log_scale = params
    place = (x[..., None] - mean) * torch.exp(-log_scale)
    return (log_weight + component.log_pdf(place) - log_scale).logsumexp(-1)


@dataclass(frozen=True)
class Mixture(Elementwise):
    """raw holds logits, means and log-scales of the components; scales are softly clipped to (1/1000, 1000).

    Zero raw parameters are the identity, to rounding. But equal components have equal gradients and stay equal: the
    network's last layer must not start at zero.
    """

    component: ClassVar[type[Component]]

    components: int = 8

    def __post_init__(self):
        check_number(self.components, "components", least=1)

    @property
    def params_per_element(self) -> int:
        return 3 * self.components

    def params(self, raw: Tensor) -> MixtureParams:
        logits, mean, log_scale = at_least_float32(raw).chunk(3, -1)
        return MixtureParams(logits.log_softmax(-1), mean, SoftClip()(log_scale))

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return mixture_forward(x, self.params(raw), self.component)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return mixture_inverse(y, self.params(raw), self.component)


@dataclass(frozen=True)
class LogisticMixture(Mixture):
    """The distribution function of a mixture of logistic distributions, then the logit: Flow++.

    >>> move, raw = LogisticMixture(components=2), torch.tensor([0.0, 0.0, -3.0, 3.0, 0.0, 0.0])
    >>> y, log_slopes = move.forward(torch.tensor(0.5), raw)
    >>> move.inverse(y, raw)[0]
    tensor(0.5000)
    """

    component = Logistic


@dataclass(frozen=True)
class GaussianMixture(Mixture):
    """The distribution function of a mixture of Gaussians, then the standard normal quantile: Gaussianisation.

    >>> move, raw = GaussianMixture(components=2), torch.tensor([0.0, 0.0, -3.0, 3.0, 0.0, 0.0])
    >>> y, log_slopes = move.forward(torch.tensor(0.5), raw)
    >>> move.inverse(y, raw)[0]
    tensor(0.5000)
    """

    component = Gaussian

    def log_density(self, x: Tensor, raw: Tensor) -> Tensor:
        return log_mixture(at_least_float32(x), self.params(raw), Gaussian)

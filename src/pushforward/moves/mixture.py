"""Mixture moves: through the distribution function of a mixture, and back through that of one component.

    y = G⁻¹(F(x))        F(x) = sum_k w_k G((x − mean_k) / scale_k)

If x is drawn from the mixture, y is drawn from G, the standard logistic or normal distribution. With components of mean
0 and scale 1 it is the identity. Component k alone would take mean_k + scale_k y to y, so the inverse lies between the
least and the greatest of these.

F is never near 1 here: where it is above a half everything is mirrored, so that both tails keep their digits. With
a = log F and the hazard h = G'/G, the log-slope has no difference of great numbers in it either,

    log dy/dx = log sum_k r_k h((x − mean_k) / scale_k) / scale_k − log h(y)        r_k = softmax of log w_k G(…)

`mixture_forward` and `mixture_inverse` are these formulas, for parameters that are ready. Ho et al. 2019 (Flow++,
logistic), arXiv:1902.00275, where an affine move follows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.moves.bounds import SoftClip
from pushforward.moves.bracketed import inverted
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32

FAR = -80.0  # the log of a probability that is still a normal number of float32


class MixtureParams(NamedTuple):
    """(*, components) each; the weights of a mixture sum to one."""

    log_weight: Tensor
    mean: Tensor
    log_scale: Tensor


class Component(ABC):
    """A distribution G, symmetric about 0 and of scale 1: the components of a mixture are shifted and scaled ones."""

    @staticmethod
    @abstractmethod
    def cdf(t: Tensor) -> Tensor:
        """G(t)."""

    @staticmethod
    @abstractmethod
    def log_cdf(t: Tensor) -> Tensor:
        """log G(t), with all its digits for t below zero."""

    @staticmethod
    @abstractmethod
    def log_pdf(t: Tensor) -> Tensor:
        """log G'(t)."""

    @staticmethod
    @abstractmethod
    def log_hazard(t: Tensor) -> Tensor:
        """log G'(t) / G(t)."""

    @staticmethod
    @abstractmethod
    def quantile(log_p: Tensor) -> Tensor:
        """The t with log G(t) = log_p, for p up to a half."""


class Logistic(Component):
    @staticmethod
    def cdf(t: Tensor) -> Tensor:
        return torch.sigmoid(t)

    @staticmethod
    def log_cdf(t: Tensor) -> Tensor:
        return F.logsigmoid(t)

    @staticmethod
    def log_pdf(t: Tensor) -> Tensor:
        return F.logsigmoid(t) + F.logsigmoid(-t)

    @staticmethod
    def log_hazard(t: Tensor) -> Tensor:
        return F.logsigmoid(-t)

    @staticmethod
    def quantile(log_p: Tensor) -> Tensor:
        return log_p - torch.log1p(-log_p.exp())


class Gaussian(Component):
    @staticmethod
    def cdf(t: Tensor) -> Tensor:
        return torch.special.ndtr(t)

    @staticmethod
    def log_cdf(t: Tensor) -> Tensor:  # torch's own log_ndtr has a wrong gradient far below zero
        low, high = t.clamp(max=0), t.clamp(min=0)
        below = torch.special.erfcx(-low / math.sqrt(2)).log() - 0.5 * low.square() - math.log(2)
        return torch.where(t < 0, below, torch.log1p(-0.5 * torch.special.erfc(high / math.sqrt(2))))

    @staticmethod
    def log_pdf(t: Tensor) -> Tensor:
        return -0.5 * (t.square() + math.log(2 * math.pi))

    @staticmethod
    def log_hazard(t: Tensor) -> Tensor:
        below = 0.5 * math.log(2 / math.pi) - torch.special.erfcx(-t.clamp(max=0) / math.sqrt(2)).log()
        above = Gaussian.log_pdf(t) - Gaussian.log_cdf(t.clamp(min=0))
        return torch.where(t < 0, below, above)

    @staticmethod
    def quantile(log_p: Tensor) -> Tensor:
        """A first guess, asymptotic far out, and Newton's steps, the last of which carries the gradient."""
        log_cdf, log_hazard = Gaussian.log_cdf, Gaussian.log_hazard
        with torch.no_grad():
            square = -2 * log_p.clamp(max=FAR) - math.log(2 * math.pi)
            t = torch.where(log_p > FAR, torch.special.ndtri(log_p.exp()), -(square - square.log()).sqrt())
            t = t - (log_cdf(t) - log_p) * torch.exp(-log_hazard(t))
            slope = torch.exp(-log_hazard(t))
        return t - (log_cdf(t) - log_p) * slope


def mixture_forward(x: Tensor, params: MixtureParams, component: type[Component]) -> tuple[Tensor, Tensor]:
    """x (*) -> y and log dy/dx (*), by the parameters (*, components) of each element."""
    log_weight, mean, log_scale = params
    place = (x[..., None] - mean) * torch.exp(-log_scale)
    upper = (log_weight.detach().exp() * component.cdf(place.detach())).sum(-1) > 0.5
    side = 1 - 2 * upper.to(place.dtype)
    place = place * side[..., None]
    log_cdfs = log_weight + component.log_cdf(place)
    y = component.quantile(log_cdfs.logsumexp(-1))
    slopes = log_cdfs.log_softmax(-1) + component.log_hazard(place) - log_scale
    return side * y, slopes.logsumexp(-1) - component.log_hazard(y)


def mixture_inverse(y: Tensor, params: MixtureParams, component: type[Component]) -> tuple[Tensor, Tensor]:
    """y (*) -> x and log dx/dy (*), by the parameters (*, components) of each element."""
    y = at_least_float32(y)
    log_weight, mean, log_scale = params

    def newton(x: Tensor) -> tuple[Tensor, Tensor]:
        """In the logarithm of the tail that y is in."""
        side = 1 - 2 * (y > 0).to(y.dtype)
        place = (x[..., None] - mean) * torch.exp(-log_scale) * side[..., None]
        tail = (log_weight + component.log_cdf(place)).logsumexp(-1)
        density = (log_weight + component.log_pdf(place) - log_scale).logsumexp(-1)
        short = side * (component.log_cdf(-y.abs()) - tail)
        return short, short * torch.exp(tail - density)

    def ends(y: Tensor) -> tuple[Tensor, Tensor]:
        alone = mean + log_scale.exp() * y[..., None]
        return alone.amin(-1), alone.amax(-1)

    return inverted(y, lambda x: mixture_forward(x, params, component), newton, ends)


@dataclass(frozen=True)
class Mixture(Elementwise):
    """raw holds logits, means and log-scales of the components; log-scales are softly clipped to a factor of 1000.

    Zero raw parameters are the identity, to rounding. But components that are equal learn alike and stay equal: the
    network's last layer must not start at zero.
    """

    components: int = 8

    @property
    @abstractmethod
    def component(self) -> type[Component]:
        """What the components are."""

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
    """Through the distribution function of a mixture of logistic distributions, to logits: Flow++.

    >>> move, raw = LogisticMixture(components=2), torch.tensor([0.0, 0.0, -3.0, 3.0, 0.0, 0.0])
    >>> y, log_slopes = move.forward(torch.tensor(0.5), raw)
    >>> move.inverse(y, raw)[0]
    tensor(0.5000)
    """

    @property
    def component(self) -> type[Component]:
        return Logistic


@dataclass(frozen=True)
class GaussianMixture(Mixture):
    """Through the distribution function of a mixture of Gaussians, to a standard normal: Gaussianisation.

    >>> move, raw = GaussianMixture(components=2), torch.tensor([0.0, 0.0, -3.0, 3.0, 0.0, 0.0])
    >>> y, log_slopes = move.forward(torch.tensor(0.5), raw)
    >>> move.inverse(y, raw)[0]
    tensor(0.5000)
    """

    @property
    def component(self) -> type[Component]:
        return Gaussian

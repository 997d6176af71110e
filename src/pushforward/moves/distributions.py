"""The standard logistic and normal distributions, in functions that keep their precision far from zero."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -80.0  # a log-probability whose exponential float32 still holds at full precision


def exp(t: Tensor) -> Tensor:
    """exp(t), or twice the least normal number: a CPU takes ten times as long for the denormal numbers below."""
    return t.clamp(min=math.log(2 * torch.finfo(t.dtype).tiny)).exp()


class Component(ABC):
    """A distribution function G, symmetric about 0 and of scale 1. A mixture's components are G shifted and scaled."""

    @staticmethod
    @abstractmethod
    def cdf(t: Tensor) -> Tensor:
        """G(t), in full precision where it is near 0."""

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
        """By erfc, down to the least normal numbers, as `exp`. torch's own ndtr loses all digits far below zero."""
        most = 26.0 if t.dtype == torch.float64 else 9.0
        return 0.5 * torch.special.erfc((t * -math.sqrt(0.5)).clamp(max=most))

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
        """A first guess, asymptotic for small p, then Newton steps. The second has the derivative, the third the second
        derivative too."""
        with torch.no_grad():
            square = -2 * log_p.clamp(max=FAR) - math.log(2 * math.pi)
            t = torch.where(log_p > FAR, torch.special.ndtri(log_p.exp()), -(square - square.log()).sqrt())
        for _ in range(3):
            log_cdf, log_hazard = Gaussian.log_cdf_and_hazard(t)
            t = t - (log_cdf - log_p) * torch.exp(-log_hazard.detach())
        return t

"""Mixture moves: the distribution function of a mixture, and then the quantile function of one component.

    y = G⁻¹(F(x))        F(x) = sum_k w_k G((x − mean_k) / scale_k)

If x has the mixture's distribution, y has distribution function G, the standard logistic or normal one. Components of
mean 0 and scale 1 give the identity. Component k alone would map mean_k + scale_k y to y, so the inverse lies between
the least and the greatest of these.

Where F is above a half, all signs are mirrored, so that F is never near 1 and both tails keep their precision. In far
tails logarithms are summed; with the hazard h = G'/G the log-slope has no difference of large terms there either,

    log dy/dx = log sum_k r_k h((x − mean_k) / scale_k) / scale_k − log h(y)        r_k = softmax of log w_k G(…)

`mixture_forward` and `mixture_inverse` compute these formulas from `MixtureParams`; `log_mixture` is the log-density
alone, without distribution functions. Ho et al. 2019 (Flow++, logistic), arXiv:1902.00275; there an affine move
follows.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.moves.bounds import SoftClip
from pushforward.moves.bracketed import Pair, inverted
from pushforward.moves.distributions import Component, Gaussian, Logistic, exp
from pushforward.moves.move import Elementwise, Move
from pushforward.recording import readable
from pushforward.shapes import at_least_float32


class MixtureParams(NamedTuple):
    """(*, components) each; the weights of a mixture sum to one."""

    log_weight: Tensor
    mean: Tensor
    log_scale: Tensor


def mixture_forward(x: Tensor, params: MixtureParams, component: type[Component]) -> tuple[Tensor, Tensor]:
    """x (*) -> y and log dy/dx (*), for parameters (*, components)."""
    log_weight, mean, log_scale = params
    place = (x[..., None] - mean) * torch.exp(-log_scale)
    upper = (exp(log_weight.detach()) * component.cdf(place.detach())).sum(-1) > 0.5
    side = 1 - 2 * upper.to(place.dtype)
    log_cdf, log_hazard = _log_cdf_and_hazard(place * side[..., None], params, component)
    y = component.quantile(log_cdf)
    return side * y, log_hazard - component.log_hazard(y)


def mixture_inverse(y: Tensor, params: MixtureParams, component: type[Component]) -> tuple[Tensor, Tensor]:
    """y (*) -> x and log dx/dy (*), for parameters (*, components)."""
    y = at_least_float32(y)
    mean, log_scale = params.mean, params.log_scale
    side, level = 1 - 2 * (y > 0).to(y.dtype), component.log_cdf(-y.abs())

    def newton(x: Tensor) -> tuple[Tensor, Tensor]:
        """On the scale of log G, or of log (1 − G) where y > 0."""
        place = (x[..., None] - mean) * torch.exp(-log_scale) * side[..., None]
        log_cdf, log_hazard = _log_cdf_and_hazard(place, params, component)
        residual = side * (level - log_cdf)
        return residual, residual * torch.exp(-log_hazard)

    def ends(y: Tensor) -> tuple[Tensor, Tensor]:
        alone = mean + log_scale.exp() * y[..., None]
        return alone.amin(-1), alone.amax(-1)

    return inverted(y, lambda x: mixture_forward(x, params, component), newton, ends)


def _log_cdf_and_hazard(place: Tensor, params: MixtureParams, component: type[Component]) -> tuple[Tensor, Tensor]:
    """log F and log F'/F of a mixture (*) at the places (*, components) in its components.

    Where no F is in a far tail a sum of probabilities is as precise as one of logarithms, in a fraction of the time.
    """
    log_weight, _, log_scale = params
    cdf = (exp(log_weight) * component.cdf(place)).sum(-1)
    if readable(cdf) and cdf.numel() and cdf.min() > torch.finfo(cdf.dtype).tiny ** 0.5:
        log_cdf = cdf.log()
        return log_cdf, (log_weight + component.log_pdf(place) - log_scale).logsumexp(-1) - log_cdf
    log_cdfs, log_hazards = component.log_cdf_and_hazard(place)
    log_cdfs = log_weight + log_cdfs
    return log_cdfs.logsumexp(-1), (log_cdfs.log_softmax(-1) + log_hazards - log_scale).logsumexp(-1)


def log_mixture(x: Tensor, params: MixtureParams, component: type[Component]) -> Tensor:
    """The log-density of the mixture at x (*), in nats, for parameters (*, components)."""
    log_weight, mean, log_scale = params
    place = (x[..., None] - mean) * torch.exp(-log_scale)
    return (log_weight + component.log_pdf(place) - log_scale).logsumexp(-1)


class TokenMixture(Move):
    """A move of a whole token, feature by feature: each has a mixture of Gaussians, given those before it."""

    @abstractmethod
    def following(self, before: Tensor, raw: Tensor) -> MixtureParams:
        """The mixture of the feature after the features `before` (*, i) of each token."""

    def after(self, before: Tensor, raw: Tensor) -> tuple[Pair, Pair]:
        """`forward` and `inverse` of that feature alone, (*, 1)."""
        params = MixtureParams(*(t.unsqueeze(-2) for t in self.following(before, raw)))
        return lambda x: mixture_forward(x, params, Gaussian), lambda y: mixture_inverse(y, params, Gaussian)


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

"""Mix-d: a whole token has one mixture of Gaussians, and the Rosenblatt transform maps it to independent normals.

    p(x) = sum_k w_k prod_i N(x_i; mean_ki, scale_k²)
    y_i = Φ⁻¹(F_i(x_i))        F_i(x_i) = sum_k w_ik Φ((x_i − mean_ki) / scale_k)
    w_0k = w_k                 w_{i+1,k} ∝ w_ik N(x_i; mean_ki, scale_k²)

w_ik is the probability of component k given the features before i. All tokens share the components; the network of the
transform returns the weights alone. Log-slopes add up to log p(x) − log N(y). If the components are narrow and far
apart, a token near mean_k has log p(x) = log w_k + log N(x; mean_k, scale_k²): the likelihood of a language model over
the components, and a constant. TarFlowLM, 2025, arXiv:2507.00425.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.moves.bracketed import check_searches
from pushforward.moves.distributions import Gaussian
from pushforward.moves.mixture import MixtureParams, TokenMixture, mixture_forward
from pushforward.randomness import normal
from pushforward.shapes import at_least_float32


class Gaussians(nn.Module):
    """The components of a mixture: means (components, features) and log-scales (components, 1), both learned.

    Means start as normal draws, all scales at `scale`, and the whole has mean 0 and variance 1.

    >>> Gaussians(components=27, features=5).mean.shape
    torch.Size([27, 5])
    """

    def __init__(self, components: int, features: int, *, scale: float = 0.5):
        super().__init__()
        check_number(scale, "scale", above=0, below=1)  # the whole has variance 1
        self.mean = nn.Parameter(normal(math.sqrt(1 - scale**2), components, features))
        self.log_scale = nn.Parameter(torch.full((components, 1), math.log(scale)))

    def extra_repr(self) -> str:
        components, features = self.mean.shape
        return f"components={components}, features={features}"


class MixD(nn.Module, TokenMixture):
    """A move of a whole token by the mixture of `gaussians` whose weights have the logits raw, (*, components).

    `gaussians` is any module with `mean` (components, features) and `log_scale` (components, 1): `Gaussians`, or those
    of a codebook, which then are the same weights. Zero raw parameters are equal weights.

    `log_density` takes one sum over the components and no distribution function. The inverse finds one feature after
    another. Where a feature has a density near 0 given those before it, y is in a far tail, and the inverse loses as
    many digits as the density's reciprocal has.

    >>> move = MixD(Gaussians(components=27, features=5))
    >>> x, raw = torch.zeros(2, 7, 5), torch.zeros(2, 7, 27)
    >>> move.forward(x, raw)[0].shape, move.log_density(x, raw).shape
    (torch.Size([2, 7, 5]), torch.Size([2, 7]))
    """

    def __init__(self, gaussians: nn.Module):
        super().__init__()
        self.gaussians = gaussians

    def raw_shape(self, features: int) -> tuple[int, ...]:
        mean: Any = self.gaussians.mean
        components, dimensions = mean.shape
        if dimensions != features:
            raise ValueError(f"these Gaussians are of {dimensions} features, and a token has {features}.")
        return (components,)

    def params(self, raw: Tensor) -> MixtureParams:
        """Log-weights (*, components); means (features, components) and log-scales (components,) of all tokens."""
        mean, log_scale = (at_least_float32(getattr(self.gaussians, name)) for name in ("mean", "log_scale"))
        return MixtureParams(at_least_float32(raw).log_softmax(-1), mean.T, log_scale.squeeze(-1))

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        x, (log_weight, mean, log_scale) = at_least_float32(x), self.params(raw)
        before = F.pad(_log_normal(x, mean, log_scale)[..., :-1, :].cumsum(-2), (0, 0, 1, 0))
        weights = (log_weight[..., None, :] + before).log_softmax(-1)
        return mixture_forward(x, MixtureParams(weights, mean, log_scale), Gaussian)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        check_searches(type(self).__name__)
        y = at_least_float32(y)
        x, log_slopes = y[..., :0], []
        for y_i in y.split(1, -1):
            x_i, log_slope = self.after(x, raw)[1](y_i)
            x = torch.cat([x, x_i], -1)
            log_slopes.append(log_slope)
        return x, torch.cat(log_slopes, -1)

    def following(self, before: Tensor, raw: Tensor) -> MixtureParams:
        i, (log_weight, mean, log_scale) = before.shape[-1], self.params(raw)
        log_weight = log_weight + _log_normal(before, mean[:i], log_scale).sum(-2)
        return MixtureParams(log_weight.log_softmax(-1), mean[i], log_scale)

    def log_density(self, x: Tensor, raw: Tensor) -> Tensor:
        log_weight, mean, log_scale = self.params(raw)
        return (log_weight + _log_normal(at_least_float32(x), mean, log_scale).sum(-2)).logsumexp(-1)


def _log_normal(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log N(x; mean, scale²) of x (*) for each component, (*, components)."""
    return Gaussian.log_pdf((x[..., None] - mean) * torch.exp(-log_scale)) - log_scale

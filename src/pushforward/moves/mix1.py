"""Mix-1: each feature of a token has a mixture of Gaussians of its own, given the features before it in the token.

    y_i = Φ⁻¹(F_i(x_i))        F_i(x_i) = sum_k w_ik Φ((x_i − mean_ik) / scale_ik)

A small network inside the token computes w_i, mean_i and scale_i from x_0 … x_{i−1} and from raw, what the network of
the transform returned for the token. TarFlowLM, 2025, arXiv:2507.00425.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.moves.bounds import SoftClip
from pushforward.moves.bracketed import check_searches
from pushforward.moves.distributions import Gaussian
from pushforward.moves.mixture import MixtureParams, TokenMixture, log_mixture, mixture_forward, mixture_inverse
from pushforward.shapes import at_least_float32


class Mix1(nn.Module, TokenMixture):
    """A move of a whole token, feature by feature: raw (*, width) conditions `net`, which reads the features in order.

    `net` is a causal network over the features of a token, whose context is raw, and whose answers have shape
    (features, 3 · components). The answers are logits, means and log-scales, added to those of a mixture that is close
    to the standard normal distribution. So a network that returns zeros gives a map close to the identity, and its
    components differ and can be learned.

    >>> from pushforward.networks import MaskedMLP
    >>> net = MaskedMLP(3, (3 * 8,), hidden=(16, 16), context_encoder=nn.Identity())
    >>> move = Mix1(net, width=16, components=8)
    >>> move.forward(torch.zeros(5, 7, 3), torch.zeros(5, 7, 16))[0].shape
    torch.Size([5, 7, 3])
    """

    def __init__(self, net: nn.Module, *, width: int, components: int = 8):
        super().__init__()
        self.net, self.width, self.components = net, width, components

    def raw_shape(self, features: int) -> tuple[int, ...]:
        return (self.width,)

    def params(self, raw: Tensor) -> Tensor:
        """What `net` is conditioned on, (*, width)."""
        return at_least_float32(raw)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        x = at_least_float32(x)
        return mixture_forward(x, self._mixtures(x, raw), Gaussian)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        check_searches(type(self).__name__)
        rows = at_least_float32(y).reshape(-1, y.shape[-1])
        net: Any = self.net
        decoder = net.start(rows.shape[0], self._given(raw))
        found = []
        for y_i in rows.split(1, -1):
            if found:
                decoder.read(found[-1][0])
            found.append(mixture_inverse(y_i, self._mixture(decoder.answer), Gaussian))
        x, log_slopes = (torch.cat(parts, -1).view(y.shape) for parts in zip(*found, strict=True))
        return x, log_slopes

    def following(self, before: Tensor, raw: Tensor) -> MixtureParams:
        net: Any = self.net
        given = self._given(raw)
        decoder = net.start(len(given), given)
        if before.shape[-1]:
            decoder.read(before.reshape(-1, before.shape[-1]))
        return self._mixture(decoder.answer.view(*raw.shape[:-1], -1))

    def log_density(self, x: Tensor, raw: Tensor) -> Tensor:
        x = at_least_float32(x)
        return log_mixture(x, self._mixtures(x, raw), Gaussian)

    def _mixtures(self, x: Tensor, raw: Tensor) -> MixtureParams:
        """The mixtures of all features of x (*, features)."""
        answers = self.net(x.reshape(-1, x.shape[-1]), self._given(raw))
        return self._mixture(answers.view(*x.shape, answers.shape[-1]))

    def _given(self, raw: Tensor) -> Tensor:
        return raw.reshape(-1, self.width).to(next(self.net.parameters()).dtype)

    def _mixture(self, answers: Tensor) -> MixtureParams:
        """(*, 3 · components): the mixture at zero has centres spread over (−1.5, 1.5), mean 0 and variance 1."""
        k = torch.arange(self.components, dtype=torch.float32, device=answers.device)
        centres = 1.5 * (2 * k + 1 - self.components) / self.components
        scale = math.sqrt(0.25 + 0.75 / self.components**2)
        logits, mean, log_scale = at_least_float32(answers).chunk(3, -1)
        return MixtureParams(logits.log_softmax(-1), mean + centres, SoftClip()(log_scale) + math.log(scale))

    def extra_repr(self) -> str:
        return f"width={self.width}, components={self.components}"

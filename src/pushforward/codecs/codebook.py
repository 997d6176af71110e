"""Tokens of text as events: a learned codebook of Gaussians."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.codecs.base import Codec, CodecConfig
from pushforward.flow import Flow
from pushforward.moves import Gaussians, MixD
from pushforward.randomness import Source, draw
from pushforward.recording import readable
from pushforward.shapes import Events, PerSample, sum_event


@dataclass(frozen=True, kw_only=True)
class TokenCodebook(CodecConfig):
    """The configuration of a codebook of tokens: `build()` makes a `GaussianCodebook` with random means.

    A bound is in `unit` for each token of a row. Where tokens are characters that is "bits/char".

    >>> codec = TokenCodebook(vocabulary=65, features=5, unit="bits/char").build()
    >>> x, log_q = codec.encode(torch.tensor([[3, 64, 0]]))
    >>> x.shape, codec.decode(codec.clean(torch.tensor([[3, 64, 0]])))
    (torch.Size([1, 3, 5]), tensor([[ 3, 64,  0]]))
    """

    vocabulary: int
    features: int  # of a token's event
    sigma: float = 0.3  # the deviation of all Gaussians at the start; all tokens together have variance 1
    unit: str = "nats/token"  # or bits/token, bits/char, bits/byte

    def __post_init__(self):
        check_number(self.vocabulary, "vocabulary", least=2)
        check_number(self.features, "features", least=1)
        check_number(self.sigma, "sigma", above=0, below=1)
        if self.unit.partition("/")[0] not in ("bits", "nats"):
            raise ValueError(f"a unit is of bits or nats, such as bits/char; got {self.unit!r}.")

    @property
    def levels(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.vocabulary

    def build(self) -> Codec:
        return GaussianCodebook(self.vocabulary, self.features, sigma=self.sigma, unit=self.unit)

    def small(self, image: tuple[int, ...] | None = None) -> CodecConfig:
        return replace(self, vocabulary=min(self.vocabulary, 8), features=min(self.features, 2))


class Terms(NamedTuple):
    """The three terms of a bound on log P(tokens), in nats, (batch,) each. The bound is their sum."""

    reconstruction: PerSample  # log P(tokens | x)
    prior: PerSample  # log p(x), of the flow
    entropy: PerSample  # −log q(x | tokens)


class GaussianCodebook(nn.Module, Codec):
    """A Gaussian for each token k of a vocabulary, x ~ N(mean_k, sigma_k² I), with its exact decoder.

    Means and sigmas are learned. Tokens are integers (B, T), events (B, T, D). The decoder is Bayes' rule with a
    uniform prior over the vocabulary,

        P(k | x) = N_k(x) / sum_j N_j(x)        so that    log_q = sum over tokens of log sum_j N_j(x)

    `decode` gives the most probable token. With a flow of density p(x) the bound on log P of a row is that of its
    three terms, log P(tokens | x) + log p(x) − log q(x | tokens). A Mix-d of the flow with as many components shares
    the Gaussians: with one such flow, and sigma to 0, the bound is the log-likelihood of a language model. Zhang et al.
    2025 (TarFlowLM), arXiv:2507.00425.
    """

    def __init__(self, vocabulary: int, features: int, *, sigma: float = 0.3, unit: str = "nats/token"):
        super().__init__()
        self.levels, self.unit = vocabulary, unit
        self.gaussians = Gaussians(vocabulary, features, scale=sigma)

    def join(self, flow: Flow) -> None:
        for part in flow.modules():
            if isinstance(part, MixD) and part.gaussians.mean.shape == self.gaussians.mean.shape:
                part.gaussians = self.gaussians

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        mean, sigma = self.normal(data)
        x = mean + sigma[..., None] * draw(torch.randn, tuple(mean.shape), mean, generator)
        return x, sum_event(self.log_densities(x).logsumexp(-1))

    def decode(self, x: Events) -> Tensor:
        return self.log_densities(x).argmax(-1)

    def clean(self, data: Tensor) -> Events:
        return self.normal(data)[0]

    def log_densities(self, x: Events) -> Tensor:
        """log N_k(x) of every token k, (B, T, V)."""
        mean, log_sigma = self.gaussians.mean.to(x), self.gaussians.log_scale[:, 0].to(x)
        distance = torch.cdist(x, mean, compute_mode="donot_use_mm_for_euclid_dist")
        return self._log_normal(distance.square(), log_sigma)

    def terms(self, data: Tensor, x: Events, log_p: PerSample) -> Terms:
        """The terms of the bound for tokens, their events x ~ q(x | tokens), and the flow's log p(x)."""
        mean, sigma = self.normal(data)
        own = self._log_normal((x - mean).square().sum(-1), sigma.log())
        return Terms(sum_event(own - self.log_densities(x).logsumexp(-1)), log_p, -sum_event(own))

    def _log_normal(self, square: Tensor, log_sigma: Tensor) -> Tensor:
        """log N of squared distances from the mean."""
        features = self.gaussians.mean.shape[1]
        return -0.5 * square * torch.exp(-2 * log_sigma) - features * (log_sigma + 0.5 * math.log(2 * math.pi))

    def normal(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """The means (B, T, D) and sigmas (B, T) of the events of tokens. Raises ValueError for what is no token."""
        if data.is_floating_point() or data.is_complex() or data.dim() != 2:
            raise ValueError(
                f"this codec takes tokens 0 … {self.levels - 1} of shape (batch, tokens); the data are {data.dtype} of "
                f"shape {tuple(data.shape)}."
            )
        if data.numel() and readable(data):
            least, most = torch.stack(data.aminmax()).tolist()
            if least < 0 or most >= self.levels:
                raise ValueError(
                    f"a vocabulary of {self.levels} has tokens 0 … {self.levels - 1}; the data have {least} … {most}."
                )
        mean, log_scale = self.gaussians.mean, self.gaussians.log_scale
        return F.embedding(data.long(), mean), F.embedding(data.long(), log_scale)[..., 0].exp()

    def __repr__(self) -> str:
        vocabulary, features = self.gaussians.mean.shape
        return f"GaussianCodebook(vocabulary={vocabulary}, features={features}, unit={self.unit!r})"

"""How data that is not a continuous vector becomes one.

A flow models a density, and pixels are integers: with a density the likelihood of integers can be made as great as one
likes. So integers v are lifted to x ~ q(x | v), and by Jensen's inequality

    log P(v) ≥ E_q[ log p(x) − log q(x | v) + log P(v | x) ]

where P(v | x) says which integers x stands for. A lift draws x and names its cost, the last two terms; what a lifted
flow gives is a bound, and its name says so. Integers 0 … levels − 1 lie on [−1, 1].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pushforward.conditions import Given
from pushforward.flow import Flow
from pushforward.initialization import initializing
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample, sum_event
from pushforward.transforms import Integers, Unconstrain


class CodecConfig(ABC):
    """What a recipe says of lifting: a lift, or the configuration of one that has weights."""

    levels: int  # the data are integers 0 … levels − 1; 0: they are real numbers

    @abstractmethod
    def build(self) -> Codec:
        """The lift, of random weights if it has any."""


class Codec(CodecConfig):
    """Random, from data to events and back."""

    def build(self) -> Codec:
        return self

    @abstractmethod
    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        """data -> x, log_q: a draw, and log q(x | data) − log P(data | x) in nats, (batch,)."""

    @abstractmethod
    def decode(self, x: Events) -> Tensor:
        """x -> the data it stands for."""


@dataclass(frozen=True)
class Identity(Codec):
    """For data that are events already: nothing is drawn, and a bound is the density itself.

    >>> Identity().encode(torch.tensor([[0.5, 1.5]]))
    (tensor([[0.5000, 1.5000]]), tensor([0.]))
    """

    levels: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        return data, data.new_zeros(len(data))

    def decode(self, x: Events) -> Tensor:
        return x


@dataclass(frozen=True)
class UniformDequantization(Codec):
    """Uniform noise inside each integer's bin: x = 2 (v + u) / levels − 1, u in [0, 1).

    Bins do not overlap, so log_q = n log(levels / 2) for n numbers. Theis et al. 2016, arXiv:1511.01844.

    >>> x, log_q = UniformDequantization(256).encode(torch.tensor([[0, 128]]))
    >>> UniformDequantization(256).decode(x)
    tensor([[  0, 128]], dtype=torch.uint8)
    """

    levels: int

    def __post_init__(self):
        _check_levels(self.levels)

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = _integers(data, self.levels)
        x = 2 * (v + draw(torch.rand, v.shape, v, generator)) / self.levels - 1
        return x, x.new_full((len(x),), x.shape[1:].numel() * math.log(self.levels / 2))

    def decode(self, x: Events) -> Tensor:
        return _to_integers(((x + 1) * self.levels / 2).floor(), self.levels)


@dataclass(frozen=True)
class ColumnDequantization(Codec):
    """For tables with integers in some columns: there x = v + u, u uniform in (0, 1). The rest are events already.

    Bins are of width 1, so log_q is 0, and a bound is on the integral of the density over the integers' bins.

    >>> x, log_q = ColumnDequantization((1,)).encode(torch.tensor([[0.5, 3.0]]))
    >>> ColumnDequantization((1,)).decode(x)
    tensor([[0.5000, 3.0000]])
    """

    columns: tuple[int, ...]
    levels: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        if data.shape[1] <= max(self.columns):
            raise ValueError(f"columns {self.columns} are of integers; the data have {data.shape[1]} columns.")
        x = data.clone() if data.is_floating_point() else data.to(torch.get_default_dtype())
        columns = list(self.columns)
        v = x[:, columns]
        wrong = (v != v.floor()).nonzero().tolist()
        if wrong:
            row, i = wrong[0]
            raise ValueError(f"column {columns[i]} is of integers; row {row} holds {v[row, i]:g}.")
        u = draw(torch.rand, v.shape, v, generator)
        x[:, columns] = (v + u).clamp(v.nextafter(v + 1), (v + 1).nextafter(v))  # never on an edge of the bin
        return x, x.new_zeros(len(x))

    def decode(self, x: Events) -> Tensor:
        return x.index_copy(1, torch.tensor(self.columns, device=x.device), x[:, list(self.columns)].floor())


@dataclass(frozen=True)
class GaussianNoise(Codec):
    """Gaussian noise on the integers' own places: x = 2 v / (levels − 1) − 1 + sigma · noise.

    Neighbours overlap, and Bayes' rule with a uniform prior tells them apart: log_q sums log sum_k N(x; k, sigma²) over
    the levels k. For flows whose samples will be denoised: Zhai et al. 2024, arXiv:2412.06329.
    """

    levels: int
    sigma: float  # on [−1, 1]

    def __post_init__(self):
        _check_levels(self.levels)
        if not self.sigma > 0:
            raise ValueError(f"Gaussian noise needs a sigma above 0; got {self.sigma}.")

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = _integers(data, self.levels)
        x = self.place(v) + self.sigma * draw(torch.randn, v.shape, v, generator)
        reach = min(self.levels - 1, math.ceil(4 * self.sigma * self.levels))  # eight sigma: beyond, nothing adds up
        total = torch.zeros_like(x)
        for k in range(-reach, reach + 1):
            neighbour = self.place(v + k)
            inside = neighbour.abs() <= 1
            total += inside * torch.exp(-0.5 * ((x - neighbour) / self.sigma).square())
        return x, sum_event(total.log() - math.log(self.sigma * math.sqrt(2 * math.pi)))

    def decode(self, x: Events) -> Tensor:
        return _to_integers(((x + 1) * (self.levels - 1) / 2).round(), self.levels)

    def place(self, v: Tensor) -> Tensor:
        """Where integers lie on [−1, 1], without noise."""
        return placed(v, self.levels)


@dataclass(frozen=True)
class Coarse(Codec):
    """Integers 0 … levels − 1 with fewer grey levels, those of another lift: v -> floor(v · lift.levels / levels).

    Bits a number are those of the coarse integers: of five-bit images in Kingma & Dhariwal 2018 (Glow),
    arXiv:1807.03039.

    >>> five_bits = Coarse(UniformDequantization(32))
    >>> five_bits.decode(five_bits.encode(torch.tensor([[7, 8, 255]]))[0])
    tensor([[  0,   8, 248]], dtype=torch.uint8)
    """

    coarse: Codec
    levels: int = 256  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self):
        if self.coarse.levels < 2 or self.levels % self.coarse.levels:
            raise ValueError(f"{self.levels} grey levels do not become {self.coarse.levels} of equal width.")

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        _integers(data, self.levels)
        return self.coarse.encode(data // (self.levels // self.coarse.levels), generator)

    def decode(self, x: Events) -> Tensor:
        v = self.coarse.decode(x).long() * (self.levels // self.coarse.levels)
        return _to_integers(v, self.levels)


class VariationalDequantization(nn.Module, Codec):
    """Noise inside each integer's bin, drawn from a flow that has seen all of them: x = 2 (v + u) / levels − 1.

    u ~ q(u | v) in (0, 1), so log_q = log q(u | v) + n log(levels / 2). Learned with the flow it lifts for, q takes the
    shape that makes the bound tightest; where q is uniform, this is `UniformDequantization`. `read` makes of the
    integers, on [−1, 1], the image that `noise` is conditioned on.
    Ho et al. 2019 (Flow++), arXiv:1902.00275, section 3.1.
    """

    def __init__(self, levels: int, noise: Flow, read: nn.Module):
        super().__init__()
        _check_levels(levels)
        self.levels, self.noise, self.read = levels, noise, read

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = _integers(data, self.levels).to(self.noise.device)
        u, log_q = self.noise.rsample_and_log_prob((), self.read(self._place(v)), generator=generator)
        return 2 * (v + u) / self.levels - 1, log_q + v[0].numel() * math.log(self.levels / 2)

    def decode(self, x: Events) -> Tensor:
        return UniformDequantization(self.levels).decode(x)

    @torch.no_grad()
    def initialize(self, data: Tensor, generator: Source = None) -> None:
        """Let the parts that are measured measure what they are called with when these data are lifted."""
        with initializing(self):
            self.encode(data, generator)

    def _place(self, v: Tensor) -> Tensor:
        return 2 * (v + 0.5) / self.levels - 1

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


class CodedFlow:
    """A flow on lifted data."""

    def __init__(self, flow: Flow, codec: Codec):
        self.flow, self.codec = flow, codec

    def bound(self, data: Tensor, context: Given = None, *, samples: int = 1, generator: Source = None) -> PerSample:
        """A lower bound on log P(data | context) in nats, (batch,): random, and tighter with more `samples`.

        log of the mean over K samples of p(x_k) / q(x_k). Burda et al. 2016, arXiv:1509.00519. Where log-dets are
        estimated it is one on average, and for one sample alone.
        """
        if samples < 1:
            raise ValueError(f"a bound takes one draw at least; got samples={samples}.")
        if samples > 1 and not self.flow.exact:
            raise ValueError(
                f"with samples={samples} the noise of estimated log-dets would raise the bound. Give samples=1, or "
                "have them computed: log_det=Exact()."
            )
        terms = []
        for _ in range(samples):
            x, log_q = self.codec.encode(data, generator)
            terms.append(self.flow.log_prob(x, context) - log_q)
        return torch.stack(terms).logsumexp(0) - math.log(samples)


def codec_of(flow: Flow) -> Codec:
    """What the data of a flow of vectors go through before it: `ColumnDequantization` where there are `Integers`.

    >>> from pushforward.models import MAF
    >>> codec_of(MAF(features=2, supports=(Integers(0, 9), Integers())).build())
    ColumnDequantization(columns=(0, 1))
    """
    supports = next((part.supports for part in flow.modules() if isinstance(part, Unconstrain)), ())
    columns = tuple(i for i, support in enumerate(supports) if isinstance(support, Integers))
    return ColumnDequantization(columns) if columns else Identity()


def placed(v: Tensor, levels: int) -> Tensor:
    """Integers 0 … levels − 1 as real numbers on [−1, 1]."""
    return v / (levels - 1) * 2 - 1


def bits_per_dim(log_p: Tensor, numbers: int) -> Tensor:
    """Nats an event -> bits a number: −log_p / (numbers · log 2). Of a bound on log P it is a bound too, from above."""
    return -log_p / (numbers * math.log(2))


def _check_levels(levels: int) -> None:
    if levels < 2:
        raise ValueError(f"a lift needs levels of at least 2; got {levels}.")


def _integers(data: Tensor, levels: int) -> Tensor:
    if data.is_floating_point() or data.is_complex():
        raise ValueError(f"a lift takes integers 0 … {levels - 1}; the data is {data.dtype}.")
    if data.numel():
        least, most = torch.stack(data.aminmax()).tolist()
        if least < 0 or most >= levels:
            raise ValueError(f"a lift of {levels} levels takes 0 … {levels - 1}; the data has {least} … {most}.")
    return data.to(torch.get_default_dtype())


def _to_integers(v: Tensor, levels: int) -> Tensor:
    return v.clamp(0, levels - 1).to(torch.uint8 if levels <= 256 else torch.int64)

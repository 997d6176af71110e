"""Codecs of integers 0 … levels − 1, and what they share: unit, checks, and positions on [−1, 1]."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.codecs.base import Codec
from pushforward.flow import Flow
from pushforward.initialization import initializing
from pushforward.randomness import Source, draw
from pushforward.recording import readable
from pushforward.shapes import Events, PerSample
from pushforward.statistics import INTEGERS


class IntegerCodec(Codec):
    """A codec of integers 0 … levels − 1, such as pixels. The unit of a bound is bits for each integer of a row."""

    unit = "bits/dim"


@dataclass(frozen=True)
class UniformDequantization(IntegerCodec):
    """Uniform noise inside each integer's bin: x = 2 (v + u) / levels − 1, u in [0, 1).

    Bins do not overlap, so log_q = n log(levels / 2) for n integers. Theis et al. 2016, arXiv:1511.01844.

    >>> x, log_q = UniformDequantization(256).encode(torch.tensor([[0, 128]]))
    >>> UniformDequantization(256).decode(x)
    tensor([[  0, 128]], dtype=torch.uint8)
    """

    levels: int

    def __post_init__(self):
        check_levels(self.levels)

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = as_real(data, self.levels)
        x = in_bins(v, draw(torch.rand, v.shape, v, generator), self.levels)
        return x, x.new_full((len(x),), x.shape[1:].numel() * math.log(self.levels / 2))

    def decode(self, x: Events) -> Tensor:
        return as_integers(bins(x, self.levels), self.levels)

    def clean(self, data: Tensor) -> Events:
        return bin_centres(as_real(data, self.levels), self.levels)


class VariationalDequantization(nn.Module, IntegerCodec):
    """Noise inside each integer's bin, drawn from a flow conditioned on all of them: x = 2 (v + u) / levels − 1.

    u ~ q(u | v) in (0, 1), so log_q = log q(u | v) + n log(levels / 2) for n integers. The flow of the noise is trained
    with the flow of the data, on the same bound. Where the noise is uniform, this is `UniformDequantization`. The
    network `read` computes the features that `noise` is conditioned on, from the integers on [−1, 1].
    Ho et al. 2019 (Flow++), arXiv:1902.00275, section 3.1.
    """

    def __init__(self, levels: int, noise: Flow, read: nn.Module):
        super().__init__()
        check_levels(levels)
        self.levels, self.noise, self.read = levels, noise, read

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = as_real(data, self.levels).to(self.noise.device)
        u, log_q = self.noise.rsample_and_log_prob((), self.read(bin_centres(v, self.levels)), generator=generator)
        return in_bins(v, u, self.levels), log_q + v[0].numel() * math.log(self.levels / 2)

    def decode(self, x: Events) -> Tensor:
        return UniformDequantization(self.levels).decode(x)

    def clean(self, data: Tensor) -> Events:
        return UniformDequantization(self.levels).clean(data)

    @torch.no_grad()
    def initialize(self, data: Tensor, generator: Source = None) -> None:
        """Data-dependent initialisation of the flow of the noise, by encoding these data once."""
        with initializing(self):
            self.encode(data, generator)

    def __repr__(self) -> str:
        return f"VariationalDequantization(levels={self.levels})"


@dataclass(frozen=True)
class Coarse(IntegerCodec):
    """Reduces integers 0 … levels − 1 to the levels of the codec `coarse`: v -> floor(v · coarse.levels / levels).

    Bits/dim are those of the reduced integers, as for the five-bit images in Kingma & Dhariwal 2018 (Glow),
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

    @property
    def noise_sigma(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.coarse.noise_sigma

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        return self.coarse.encode(self._coarsened(data), generator)

    def decode(self, x: Events) -> Tensor:
        v = self.coarse.decode(x).long() * (self.levels // self.coarse.levels)
        return as_integers(v, self.levels)

    def clean(self, data: Tensor) -> Events:
        return self.coarse.clean(self._coarsened(data))

    def _coarsened(self, data: Tensor) -> Tensor:
        as_real(data, self.levels)  # raises ValueError where the data are not integers 0 … levels − 1
        return torch.div(data.int(), self.levels // self.coarse.levels, rounding_mode="floor")


def placed(v: Tensor, levels: int) -> Tensor:
    """Integers on [−1, 1]: 0 is at −1, and levels − 1 at 1."""
    return v / (levels - 1) * 2 - 1


def bin_centres(v: Tensor, levels: int) -> Tensor:
    """Integers at the centres of their bins, which have width 2 / levels and tile [−1, 1]."""
    return 2 * (v + 0.5) / levels - 1


def bins(x: Tensor, levels: int) -> Tensor:
    """The bin of each point on [−1, 1], from 0; points beyond have numbers beyond 0 … levels − 1."""
    return ((x + 1) * levels / 2).floor()


def in_bins(v: Tensor, u: Tensor, levels: int) -> Tensor:
    """The points 2 (v + u) / levels − 1 of the bins of integers v, with u in [0, 1).

    Where rounding reaches another bin, which one of 170,000 points of 256 levels does, it is the centre of its own.
    """
    x = 2 * (v + u) / levels - 1
    return torch.where(bins(x, levels) == v, x, bin_centres(v, levels))


def bits_per_dim(log_p: Tensor, elements: int) -> Tensor:
    """log p of an event, in nats -> bits for each of its elements: −log_p / (elements · log 2)."""
    return -log_p / (elements * math.log(2))


def check_levels(levels: int) -> None:
    """Raise ValueError where there are fewer than two levels."""
    if levels < 2:
        raise ValueError(f"a codec of integers needs levels of at least 2; got {levels}.")


def as_real(data: Tensor, levels: int) -> Tensor:
    """Integers 0 … levels − 1 in torch's default dtype, in float64 beyond 2^17 levels. Raises ValueError for anything
    else; on a GPU, where a look at the data would wait for it, integers out of range become NaN."""
    if data.is_floating_point() or data.is_complex():
        raise ValueError(f"this codec takes integers 0 … {levels - 1}; the data are {data.dtype}.")
    v = data.to(torch.float64 if levels > INTEGERS else torch.get_default_dtype())
    if not data.numel() or (data.dtype == torch.uint8 and levels >= 256):
        return v
    if not readable(data):
        return torch.where((v >= 0) & (v < levels), v, math.nan)
    least, most = map(int, torch.stack(v.aminmax()).tolist())
    if least < 0 or most >= levels:
        raise ValueError(f"a codec of {levels} levels takes 0 … {levels - 1}; the data have {least} … {most}.")
    return v


def as_integers(v: Tensor, levels: int) -> Tensor:
    """Whole numbers, clipped to 0 … levels − 1, as uint8 where they fit and int64 where not."""
    return v.clamp(0, levels - 1).to(torch.uint8 if levels <= 256 else torch.int64)

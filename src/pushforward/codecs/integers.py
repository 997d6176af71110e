"""What the codecs of integers 0 … levels − 1 share: unit, checks, and positions on [−1, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.codecs.base import Codec
from pushforward.recording import readable
from pushforward.statistics import INTEGERS


class IntegerCodec(Codec):
    """A codec of integers 0 … levels − 1, such as pixels. The unit of a bound is bits for each integer of a row."""

    unit = "bits/dim"


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

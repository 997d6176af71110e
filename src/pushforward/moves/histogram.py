"""Histograms: a piecewise-linear distribution function, then the standard normal quantile.

    y = Φ⁻¹(F(x))        F(x) = F(x_k) + p_k (x − x_k) / (x_{k+1} − x_k)    in bin k, between the knots x_k and x_{k+1}

Where y is standard normal, x lies in bin k with probability p_k and is uniform in it. Below the first knot and above
the last one F has normal tails, of probabilities p_low and p_high:

    F(x) = p_low Φ(x) / Φ(x_0)        1 − F(x) = p_high Φ(−x) / Φ(−x_B)

F and 1 − F are sums from either end. The smaller one gives y, so both tails keep their precision. With many bins this
is a categorical distribution over binned values, and uniform in a bin: ArBG, 2026, arXiv:2606.27361.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.moves.distributions import Gaussian
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32

LEAST = 1e-6  # the part of the probability at zero that every bin keeps


class Sums(NamedTuple):
    """The log-probability of each tail and bin, and the probabilities of all below it and of all above it."""

    log_mass: Tensor
    below: Tensor
    above: Tensor

    def at(self, place: Tensor) -> Sums:
        """Those of the places (*), counted from the lower tail."""
        return Sums(*(t.gather(-1, place[..., None]).squeeze(-1) for t in self))


class Slots(NamedTuple):
    """The tail or bin of each element, (*) each."""

    lower: Tensor  # whether it is the lower tail
    upper: Tensor  # whether it is the upper tail
    start: Tensor  # the ends, of a bin
    end: Tensor
    bound: Tensor  # where a tail starts, with the sign that it has below


@dataclass(frozen=True)
class Histogram(Elementwise):
    """raw holds the logits of the lower tail, of each bin and of the upper tail.

    The bins are `bins` of equal widths on [−bound, bound], or those between the given `knots`: two or more, increasing,
    the first in (−10, 0) and the last in (0, 10). Logits are added to those of the standard normal distribution. So
    zero raw parameters are the identity at the knots and in the tails, and close to it elsewhere. Every bin keeps a
    millionth of its probability at zero.

    The map is continuous. At a knot its slope is that of the bin above. Points of a bin that has less than 1e-7 of the
    probability on its side of the median cannot be told apart by their y in float32.

    >>> move = Histogram(bins=4, bound=2.0)
    >>> move.forward(torch.tensor([-3.0, -1.0, 0.5, 1.5]), torch.zeros(4, 6))[0]
    tensor([-3.0000, -1.0000,  0.4418,  1.3364])
    """

    bins: int = 64
    bound: float = 4.0
    knots: tuple[float, ...] = ()

    def __post_init__(self):
        knots = self.knots or (-self.bound, self.bound)
        if (
            self.bins < 1
            or len(knots) < 2
            or list(knots) != sorted(set(knots))
            or not -10 < knots[0] < 0 < knots[-1] < 10
        ):
            raise ValueError(
                "a histogram has one bin or more between increasing knots, the first in (−10, 0) and the last in "
                f"(0, 10); got bins={self.bins}, bound={self.bound}, knots={self.knots}."
            )

    @property
    def params_per_element(self) -> int:
        return (len(self.knots) - 1 if self.knots else self.bins) + 2

    def params(self, raw: Tensor) -> Tensor:
        """Log-probabilities of the lower tail, of the bins and of the upper tail, (*, bins + 2)."""
        raw, edges = at_least_float32(raw), self.edges(raw)
        tails = 0.5 * torch.special.erfc(edges.abs() / math.sqrt(2))
        middle = (edges[1:] > 0) & (edges[:-1] < 0)
        between = torch.where(middle, 1 - tails[1:] - tails[:-1], (tails[1:] - tails[:-1]).abs())
        prior = torch.cat([tails[:1], between, tails[-1:]])
        weight = prior * (raw - raw.detach().amax(-1, keepdim=True)).exp()
        mass = weight / weight.sum(-1, keepdim=True)  # not a softmax, whose gradient torch 2.13 compiles wrongly
        return ((1 - LEAST) * mass + LEAST * prior).log()

    def edges(self, like: Tensor) -> Tensor:
        """The knots, (bins + 1), on a tensor's device and in its dtype or float32."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        if self.knots:
            return torch.tensor(self.knots, dtype=dtype, device=like.device)
        k = torch.arange(self.bins + 1, dtype=dtype, device=like.device)
        return self.bound * (2 * k - self.bins) / self.bins

    def outside(self, x: Tensor) -> Tensor:
        edges = self.edges(x)
        return (x < edges[0]) | (x >= edges[-1])

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        x, edges = at_least_float32(x), self.edges(x)
        place = _place(x, edges)
        slots, sums = _slots(place, edges), _sums(self.params(raw)).at(place)
        share, rest, log_tail = _shares(x, slots)
        mass = sums.log_mass.exp()
        low, high = sums.below + share * mass, sums.above + rest * mass
        above = low > high
        alone = torch.where(above, slots.upper, slots.lower)  # nothing lies beyond: the logarithm does not underflow
        least = torch.minimum(low, high).clamp(min=torch.finfo(x.dtype).tiny)
        log_p = torch.where(alone, sums.log_mass + log_tail, least.log())
        y = Gaussian.quantile(log_p)
        log_slopes = _log_hazard(x, slots, sums, alone, log_p) - Gaussian.log_hazard(y)
        return torch.where(above, -y, y), log_slopes

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        y, edges = at_least_float32(y), self.edges(y)
        above, y = y > 0, -y.abs()
        log_p = Gaussian.log_cdf(y)
        p, whole = log_p.exp(), _sums(self.params(raw))
        lower, upper = ((p[..., None] >= ends).sum(-1) for ends in (whole.below[..., 1:], whole.above[..., :-1]))
        place = torch.where(above, len(edges) - upper, lower)
        slots, sums = _slots(place, edges), whole.at(place)
        share = ((p - torch.where(above, sums.above, sums.below)) * torch.exp(-sums.log_mass)).clamp(0, 1)
        step = share * (slots.end - slots.start)
        inside = torch.where(above, slots.end - step, slots.start + step)
        alone = torch.where(above, slots.upper, slots.lower)
        rest = torch.log1p(-share.clamp(max=1 - torch.finfo(y.dtype).eps))
        log_share = torch.where(alone, log_p - sums.log_mass, rest).clamp(max=0)
        tail = Gaussian.quantile(log_share + Gaussian.log_cdf(slots.bound))
        x = torch.where(slots.lower, tail, torch.where(slots.upper, -tail, inside))
        return x, Gaussian.log_hazard(y) - _log_hazard(x, slots, sums, alone, log_p)

    def log_density(self, x: Tensor, raw: Tensor) -> Tensor:
        x, edges = at_least_float32(x), self.edges(x)
        place = _place(x, edges)
        log_mass = self.params(raw).gather(-1, place[..., None]).squeeze(-1)
        return log_mass + _log_density(x, _slots(place, edges))


def _sums(log_mass: Tensor) -> Sums:
    mass = log_mass.exp()
    below, above = mass.cumsum(-1)[..., :-1], mass.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    return Sums(log_mass, F.pad(below, (1, 0)), F.pad(above, (0, 1)))


def _place(x: Tensor, edges: Tensor) -> Tensor:
    """How many knots are at or below x: 0 in the lower tail."""
    return torch.bucketize(x.contiguous(), edges, right=True)  # torch warns of other memory


def _slots(place: Tensor, edges: Tensor) -> Slots:
    lower, upper, last = place == 0, place == len(edges), len(edges) - 1
    start, end = edges[(place - 1).clamp(0, last - 1)], edges[place.clamp(1, last)]
    return Slots(lower, upper, start, end, torch.where(upper, -edges[last], edges[0]))


def _mirrored(x: Tensor, slots: Slots) -> Tensor:
    """x in the lower tail, −x in the upper tail; the bound elsewhere."""
    return torch.minimum(torch.where(slots.upper, -x, x), slots.bound)


def _shares(x: Tensor, slots: Slots) -> tuple[Tensor, Tensor, Tensor]:
    """The shares of the bin or tail below x and above x, and the logarithm of the share beyond x in a tail."""
    log_tail = Gaussian.log_cdf(_mirrored(x, slots)) - Gaussian.log_cdf(slots.bound)
    beyond, before = log_tail.exp(), -torch.expm1(log_tail)
    width = slots.end - slots.start
    share = torch.where(slots.lower, beyond, torch.where(slots.upper, before, (x - slots.start) / width))
    rest = torch.where(slots.lower, before, torch.where(slots.upper, beyond, (slots.end - x) / width))
    return share, rest, log_tail


def _log_density(x: Tensor, slots: Slots) -> Tensor:
    """The log-density at x given its bin or tail."""
    tail = Gaussian.log_pdf(_mirrored(x, slots)) - Gaussian.log_cdf(slots.bound)
    return torch.where(slots.lower | slots.upper, tail, -(slots.end - slots.start).log())


def _log_hazard(x: Tensor, slots: Slots, sums: Sums, alone: Tensor, log_p: Tensor) -> Tensor:
    """The log-density at x minus log p, the probability beyond x: in a far tail a difference of large terms."""
    return torch.where(alone, Gaussian.log_hazard(_mirrored(x, slots)), sums.log_mass + _log_density(x, slots) - log_p)

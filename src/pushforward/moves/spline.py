"""Rational-quadratic splines: increasing maps with a closed inverse. The more bins, the more flexible.

In a bin from (x0, y0) to (x1, y1), with slopes d0 and d1 at its ends and the secant s = (y1 − y0) / (x1 − x0), let
z = (x − x0) / (x1 − x0) and v = 1 − z. Then (Gregory & Delbourgo 1982)

    y = y0 + (y1 − y0) · (s z² + d0 z v) / D            D = s (z² + v²) + (d0 + d1) z v
    dy/dx = s² (d1 z² + 2 s z v + d0 v²) / D²

All terms are positive, so nothing cancels. For the inverse let u = (y − y0) / (y1 − y0) and w = 1 − u. With p = d0 w
and q = d1 u the quadratic equation for z has the discriminant (p − q)² + 4 s² u w, which is never negative, and

    z : v  =  2 s u : t  if p ≥ q,  else  t : 2 s w            t = |p − q| + √discriminant

Here nothing cancels either. Both directions compute the distance of their result from the nearer end of the bin. So
knots map to knots exactly, and elsewhere the error is little more than that of rounding the result. Equal widths, equal
heights and slopes of 1 are the identity: to the last bit if `bins` is a power of two.

Durkan et al. 2019, arXiv:1906.04032 (with linear tails); Rezende et al. 2020, arXiv:2002.02428 (on a circle).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.kernels import spline as kernel
from pushforward.moves.bounds import SoftClip
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32


class Knots(NamedTuple):
    """The ends of the bins, increasing in x and in y, and the slopes dy/dx there: (*, bins + 1) each."""

    x: Tensor
    y: Tensor
    slope: Tensor


class CircularKnots(NamedTuple):
    """The knots of a spline from one full turn to another, (*, bins + 1) each, and the angle added after it (*)."""

    x: Tensor
    y: Tensor
    slope: Tensor
    phase: Tensor


@dataclass(frozen=True)
class Spline(Elementwise):
    """The base class: a rational-quadratic spline of `bins` bins on [−bound, bound]."""

    bins: int = 8
    bound: float = 1.0
    contrast: float = 64.0  # bounds slopes, and how many times the widest bin is as wide as the narrowest

    def __post_init__(self):
        check_number(self.bins, "bins", least=1)
        check_number(self.bound, "bound", above=0)
        check_number(self.contrast, "contrast", above=1)


@dataclass(frozen=True)
class RationalQuadraticSpline(Spline):
    """A spline on [−bound, bound], and the identity outside; the slope at the bounds is 1.

    raw holds the logits of `bins` widths, those of `bins` heights, and the bins − 1 log-slopes at the inner knots. All
    are softly clipped: the widest bin is less than `contrast` times as wide as the narrowest, likewise for heights, and
    slopes at knots lie in (1 / contrast, contrast). With a contrast above 64, float32 cannot distinguish all points in
    the flattest bins. Durkan et al. 2019, arXiv:1906.04032.

    >>> move, raw = RationalQuadraticSpline(bins=2, bound=1.0), torch.tensor([0.0, 0.0, 0.0, 1.0, 0.5])
    >>> y, log_slopes = move.forward(torch.tensor(0.25), raw)
    >>> move.inverse(y, raw)[0]
    tensor(0.2500)
    """

    bound: float = 5.0

    @property
    def params_per_element(self) -> int:
        return 3 * self.bins - 1

    def params(self, raw: Tensor) -> Knots:
        widths, heights, slopes = at_least_float32(raw).split((self.bins, self.bins, self.bins - 1), -1)
        return _knots(widths, heights, F.pad(slopes, (1, 1)), self.bound, self.contrast)

    def outside(self, x: Tensor) -> Tensor:
        return x.abs() >= self.bound

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(x, raw, inverse=False)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(y, raw, inverse=True)

    def _map(self, given: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        raw, spline = at_least_float32(raw), kernel.Spline(self.bins, False, self.bound, self.contrast)

        def tensors(given: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
            return by_knots(given, self.params(raw), self.bound, inverse=inverse)

        if type(self) is not RationalQuadraticSpline:  # a subclass has other parameters
            return tensors(given, raw)
        return kernel.moved(given, raw, spline, inverse=inverse, tensors=tensors)


@dataclass(frozen=True)
class CircularSpline(Spline):
    """A spline on the circle [−bound, bound), with equal slopes at both ends, and then a rotation.

    It is a map of the line with f(x + 2 · bound) = f(x) + 2 · bound: its values are angles that are not wrapped to
    [−bound, bound). raw holds `bins` widths, heights and log-slopes each, as in `RationalQuadraticSpline`, and a phase.
    Rezende et al. 2020, arXiv:2002.02428.

    >>> move, raw = CircularSpline(bins=2), torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
    >>> move.forward(torch.tensor(7.0), raw)[0]
    tensor(7.5000)
    """

    bound: float = math.pi

    @property
    def params_per_element(self) -> int:
        return 3 * self.bins + 1

    def params(self, raw: Tensor) -> CircularKnots:
        raw, phase = self._split(raw)
        return CircularKnots(*self._knots(raw), phase)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        raw, phase = self._split(raw)
        angle, turns = self._unwind(at_least_float32(x))
        y, log_slopes = self._map(angle, raw, inverse=False)
        return y + turns + phase, log_slopes

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        raw, phase = self._split(raw)
        angle, turns = self._unwind(at_least_float32(y) - phase)
        x, log_slopes = self._map(angle, raw, inverse=True)
        return x + turns, log_slopes

    def _map(self, angle: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        spline = kernel.Spline(self.bins, True, self.bound, self.contrast)

        def tensors(angle: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
            return (_inverse if inverse else _forward)(angle, self._knots(raw))

        return kernel.moved(angle, raw, spline, inverse=inverse, tensors=tensors)

    def _knots(self, raw: Tensor) -> Knots:
        widths, heights, slopes = raw.chunk(3, -1)
        return _knots(widths, heights, torch.cat([slopes, slopes[..., :1]], -1), self.bound, self.contrast)

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The raw parameters of the spline, and the phase."""
        raw, phase = at_least_float32(raw).split((3 * self.bins, 1), -1)
        return raw, phase.squeeze(-1)

    def _unwind(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x as an angle in [−bound, bound] plus full turns."""
        turns = 2 * self.bound * (x / (2 * self.bound)).round()
        return (x - turns).clamp(-self.bound, self.bound), turns


def by_knots(given: Tensor, knots: Knots, bound: float, *, inverse: bool) -> tuple[Tensor, Tensor]:
    """The spline through these knots on [−bound, bound], and the identity outside: values and log-slopes."""
    moved, log_slopes = (_inverse if inverse else _forward)(given.clamp(-bound, bound), knots)
    inside = given.abs() < bound
    return torch.where(inside, moved, given), torch.where(inside, log_slopes, 0)


def _knots(widths: Tensor, heights: Tensor, log_slopes: Tensor, bound: float, contrast: float) -> Knots:
    clip = SoftClip(math.log(contrast) / 2)

    def places(logits: Tensor) -> Tensor:
        sums = clip(logits).exp().cumsum(-1)  # not of a softmax, whose gradient torch 2.13 compiles wrongly
        inner, total = sums.tensor_split((-1,), -1)
        end = torch.full_like(total, bound)
        return torch.cat([-end, inner * (2 * bound / total) - bound, end], -1)

    return Knots(places(widths), places(heights), SoftClip(math.log(contrast))(log_slopes).exp())


def _ends(place: Tensor, edges: Tensor, knots: Knots) -> list[Tensor]:
    """x0, x1, y0, y1, d0, d1 of the bin between two `edges` in which each place lies."""
    index = (place[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)
    index = torch.cat([index, index + 1], -1)
    return [end for values in knots for end in values.gather(-1, index).unbind(-1)]


def _forward(x: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    x0, x1, y0, y1, d0, d1 = _ends(x, knots.x, knots)
    width = x1 - x0
    s, z, v = (y1 - y0) / width, (x - x0) / width, (x1 - x) / width
    lower = z * (s * z + d0 * v) <= v * (s * v + d1 * z)
    secant, log_slopes = _slopes(z, v, s, d0, d1, lower)
    return torch.where(lower, y0, y1) + (x - torch.where(lower, x0, x1)) * secant, log_slopes


def _inverse(y: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    x0, x1, y0, y1, d0, d1 = _ends(y, knots.y, knots)
    height = y1 - y0
    s, u, w = height / (x1 - x0), (y - y0) / height, (y1 - y) / height
    p, q = d0 * w, d1 * u
    t = (p - q).abs() + ((p - q).square() + 4 * s.square() * u * w).sqrt()
    small = 2 * s * torch.where(p >= q, u, w)
    z, v = torch.where(p >= q, small, t) / (small + t), torch.where(p >= q, t, small) / (small + t)
    lower = z <= v
    secant, log_slopes = _slopes(z, v, s, d0, d1, lower)
    return torch.where(lower, x0, x1) + (y - torch.where(lower, y0, y1)) / secant, -log_slopes


def _slopes(z: Tensor, v: Tensor, s: Tensor, d0: Tensor, d1: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
    """The secant from the lower or the upper end of the bin to z, and log dy/dx at z.

    Both have factors (z + v)² = 1, written in the form of the denominators, so that they are exactly 1 and 0 where
    s = d0 = d1 = 1.
    """
    zz, vv, zv = z.square(), v.square(), z * v
    bottom = s * (zz + vv) + (d0 + d1) * zv
    d, near, far = torch.where(lower, d0, d1), torch.where(lower, zz, vv), torch.where(lower, vv, zz)
    secant = s * ((s * near + d * far) + (s + d) * zv) / bottom
    slope = (s * ((d1 * zz + d0 * vv) + 2 * s * zv) / bottom) * (s * ((zz + vv) + 2 * zv) / bottom)
    return secant, slope.log()

"""From where numbers live to the real line, so that samples lie where the data do and the density outside is zero.

everywhere            z = x
above `low`           z = log(x − low)
below `high`          z = −log(high − x)
between the two       z = log(x − low) − log(high − x)
on a circle           z = an angle in [−π, π)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pushforward.conditions import Context
from pushforward.shapes import Events, PerSample, at_least_float32, sum_event
from pushforward.transform import Triangular


class Support(ABC):
    """Where a number lives, and its way to the real line and back, each with log-slopes."""

    @property
    @abstractmethod
    def constraint(self) -> constraints.Constraint:
        """It, in the words of torch.distributions."""

    @abstractmethod
    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> z, log-slopes, which are −inf outside."""

    @abstractmethod
    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z -> x, log-slopes."""


@dataclass(frozen=True)
class Interval(Support):
    """Where a number lives: above `low` and below `high`, as far as they are given; its ends are outside.

    `Interval()` is the real line, `Interval(0)` the positive numbers.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self):
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"an interval's low end lies below its high end; got {self.low} and {self.high}.")

    @property
    def constraint(self) -> constraints.Constraint:
        low, high = self.low, self.high
        if low is None:
            return constraints.real if high is None else constraints.less_than(high)
        return constraints.greater_than(low) if high is None else constraints.interval(low, high)

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.low is None and self.high is None:
            return x, torch.zeros_like(x)
        above = torch.ones_like(x) if self.low is None else x - self.low
        below = torch.ones_like(x) if self.high is None else self.high - x
        inside = (above > 0) & (below > 0)
        above, below = torch.where(inside, above, 1).log(), torch.where(inside, below, 1).log()
        span = 0.0 if self.low is None or self.high is None else math.log(self.high - self.low)
        return above - below, torch.where(inside, span - above - below, -math.inf)

    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.low, self.high
        if low is not None and high is not None:
            x = low + (high - low) * z.sigmoid()
            log_slopes = math.log(high - low) + F.logsigmoid(z) + F.logsigmoid(-z)
        elif low is not None:
            x, log_slopes = low + z.exp(), z
        elif high is not None:
            x, log_slopes = high - (-z).exp(), -z
        else:
            return z, torch.zeros_like(z)
        # where rounding would reach an end, the number next to it
        least, most = z.new_tensor(-math.inf if low is None else low), z.new_tensor(math.inf if high is None else high)
        return x.clamp(torch.nextafter(least, most), torch.nextafter(most, least)), log_slopes


@dataclass(frozen=True)
class Circle(Support):
    """Where a number lives that begins again after a full turn, [low, high): an angle, a time of day.

    On the line it is an angle in [−π, π). What is a full turn away is the same number.

    >>> Circle(0, 360).to_line(torch.tensor([270.0, -90.0]))[0] / torch.pi
    tensor([0.5000, 0.5000])
    """

    low: float = -math.pi
    high: float = math.pi

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"a full turn goes from a low end to a high one; got {self.low} and {self.high}.")

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.half_open_interval(self.low, self.high)

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        part = (x - self.low) / self._turn
        return 2 * math.pi * (part - part.floor()) - math.pi, torch.full_like(x, math.log(2 * math.pi / self._turn))

    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        part = (z + math.pi) / (2 * math.pi)
        return self.low + self._turn * (part - part.floor()), torch.full_like(z, math.log(self._turn / (2 * math.pi)))

    @property
    def _turn(self) -> float:
        return self.high - self.low


@dataclass(frozen=True)
class Integers(Support):
    """Where integers live, from `low` to `high` as far as they are given, both among them.

    A flow sees them dequantised, v + u for a u in (0, 1) (`codecs.ColumnDequantization`), so on the interval
    up to high + 1.

    >>> Integers(0, 9).dequantised
    Interval(low=0, high=10)
    """

    low: int | None = None
    high: int | None = None

    def __post_init__(self):
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the low end of integers is not above the high one; got {self.low} and {self.high}.")

    @property
    def dequantised(self) -> Interval:
        return Interval(self.low, None if self.high is None else self.high + 1)

    @property
    def constraint(self) -> constraints.Constraint:
        return self.dequantised.constraint

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.dequantised.to_line(x)

    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.dequantised.from_line(z)


class Unconstrain(Triangular):
    """Each number of a vector from its support to the real line, on which an angle lies in [−π, π).

    >>> line = Unconstrain([Interval(), Interval(0), Interval(-1, 1), Circle(0, 360)])
    >>> line(torch.tensor([[5.0, 1.0, 0.0, 180.0]]))[0]
    tensor([[5., 0., 0., 0.]])
    """

    def __init__(self, supports: Sequence[Support]):
        super().__init__()
        self.supports = tuple(supports)

    @property
    def causal(self) -> bool:
        return True

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        columns = zip(self.supports, at_least_float32(x).unbind(1), strict=True)
        z, log_slopes = zip(*(support.to_line(column) for support, column in columns), strict=True)
        return torch.stack(z, 1), torch.stack(log_slopes, 1)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        columns = zip(self.supports, at_least_float32(z).unbind(1), strict=True)
        x, log_slopes = zip(*(support.from_line(column) for support, column in columns), strict=True)
        return torch.stack(x, 1), sum_event(torch.stack(log_slopes, 1))

    def extra_repr(self) -> str:
        return ", ".join(str(support) for support in self.supports)

"""From where numbers live to the real line, so that samples lie where the data do and the density outside is zero.

everywhere            z = x
above `low`           z = log(x − low)
below `high`          z = −log(high − x)
between the two       z = log(x − low) − log(high − x)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.context import Context
from pushforward.shapes import Events, PerSample, at_least_float32, sum_event
from pushforward.transform import Triangular


@dataclass(frozen=True)
class Interval:
    """Where a number lives: above `low` and below `high`, as far as they are given; its ends are outside.

    `Interval()` is the real line, `Interval(0)` the positive numbers.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self):
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"an interval's low end lies below its high end; got {self.low} and {self.high}.")

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> z, log-slopes, which are −inf outside."""
        if self.low is None and self.high is None:
            return x, torch.zeros_like(x)
        above = torch.ones_like(x) if self.low is None else x - self.low
        below = torch.ones_like(x) if self.high is None else self.high - x
        inside = (above > 0) & (below > 0)
        above, below = torch.where(inside, above, 1).log(), torch.where(inside, below, 1).log()
        span = 0.0 if self.low is None or self.high is None else math.log(self.high - self.low)
        return above - below, torch.where(inside, span - above - below, -math.inf)

    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z -> x, log-slopes. Where rounding would reach an end, the number next to it."""
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
        least, most = z.new_tensor(-math.inf if low is None else low), z.new_tensor(math.inf if high is None else high)
        return x.clamp(torch.nextafter(least, most), torch.nextafter(most, least)), log_slopes


class Angles(Triangular):
    """Numbers that live on circles to angles in [−π, π). [low, high) is a full turn of each, and where x comes back.

    >>> Angles([Interval(0, 360)])(torch.tensor([[270.0], [-90.0]]))[0] / torch.pi
    tensor([[0.5000],
            [0.5000]])
    """

    def __init__(self, turns: Sequence[Interval]):
        super().__init__()
        self.turns = tuple(turns)
        if any(turn.low is None or turn.high is None for turn in self.turns):
            raise ValueError(f"a full turn goes from a low end to a high one; got {self.turns}.")

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        low, width = self._turns(x := at_least_float32(x))
        part = (x - low) / width
        return 2 * math.pi * (part - part.floor()) - math.pi, torch.log(2 * math.pi / width).expand(x.shape)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        low, width = self._turns(z := at_least_float32(z))
        part = (z + math.pi) / (2 * math.pi)
        return low + width * (part - part.floor()), sum_event(torch.log(width / (2 * math.pi)).expand(z.shape))

    def extra_repr(self) -> str:
        return ", ".join(str(turn) for turn in self.turns)

    def _turns(self, x: Events) -> tuple[Tensor, Tensor]:
        low, high = (x.new_tensor([getattr(turn, end) for turn in self.turns]) for end in ("low", "high"))
        return low, high - low


class RealLine(Triangular):
    """Each number of a vector from its support to the real line.

    >>> line = RealLine([Interval(), Interval(0), Interval(-1, 1)])
    >>> line(torch.tensor([[5.0, 1.0, 0.0]]))[0]
    tensor([[5., 0., 0.]])
    """

    def __init__(self, supports: Sequence[Interval]):
        super().__init__()
        self.supports = tuple(supports)

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

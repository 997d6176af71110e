"""Maps from the support of each feature to the real line: samples lie in the support, and the density outside is zero.

(−∞, ∞)               z = x
(low, ∞)              z = log(x − low)
(−∞, high)            z = −log(high − x)
(low, high)           z = log(x − low) − log(high − x)
a circle              z = an angle in [−π, π)
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.fields import check_types
from pushforward.shapes import Events, PerSample, at_least_float32
from pushforward.statistics import INTEGERS, RESOLVED
from pushforward.transform import Triangular, summed


class Support(ABC):
    """The set of values that one feature can have, and a map from it to the real line."""

    def __post_init__(self) -> None:
        check_types(self)

    @property
    @abstractmethod
    def constraint(self) -> constraints.Constraint:
        """The set as a constraint of torch.distributions."""

    @property
    def wide(self) -> bool:
        """Whether float32 cannot tell its values apart: maps from the line then compute in float64."""
        return False

    @abstractmethod
    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> z, log-slopes log|dz/dx|, which are −inf outside the set."""

    @abstractmethod
    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z -> x, log-slopes log|dx/dz|."""


@dataclass(frozen=True)
class Interval(Support):
    """The open interval (low, high); None stands for infinity.

    `Interval()` is the real line, `Interval(0)` the positive half-line.

    >>> Interval(0).to_line(torch.tensor([1.0, -1.0]))
    (tensor([0., 0.]), tensor([0., -inf]))
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.high is not None:
            check_number(self.high, "the high end of an interval, None where it has none,")
        if self.low is not None:
            high = math.inf if self.high is None else self.high
            check_number(self.low, "the low end of an interval, None where it has none,", below=high)

    @property
    def constraint(self) -> constraints.Constraint:
        low, high = self.low, self.high
        if low is None:
            return constraints.real if high is None else constraints.less_than(high)
        return constraints.greater_than(low) if high is None else constraints.interval(low, high)

    @property
    def wide(self) -> bool:
        return self.low is not None and self.high is not None and _is_narrow_beside_its_size(self.low, self.high)

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _to_line(x, self.low, self.high)

    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _from_line(z, self.low, self.high)


@dataclass(frozen=True)
class Circle(Support):
    """The circle [low, high), where `high` is the same point as `low`, for an angle or a time of day.

    It is mapped to angles in [−π, π). Values a full turn apart are the same point.

    >>> Circle(0, 360).to_line(torch.tensor([270.0, -90.0]))[0] / torch.pi
    tensor([0.5000, 0.5000])
    """

    low: float = -math.pi
    high: float = math.pi

    def __post_init__(self):
        super().__post_init__()
        check_number(self.high, "the high end of a circle")
        check_number(self.low, "the low end of a circle", below=self.high)

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.half_open_interval(self.low, self.high)

    @property
    def wide(self) -> bool:
        return _is_narrow_beside_its_size(self.low, self.high)

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        part = (x - self.low) / self._turn
        return 2 * math.pi * (part - part.floor()) - math.pi, torch.full_like(x, math.log(2 * math.pi / self._turn))

    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        part = (z + math.pi) / (2 * math.pi)
        end = torch.nextafter(z.new_full((), self.high), z.new_full((), self.low))  # rounding may reach the high end
        x = (self.low + self._turn * (part - part.floor())).clamp(max=end)
        return x, torch.full_like(z, math.log(self._turn / (2 * math.pi)))

    @property
    def _turn(self) -> float:
        return self.high - self.low


@dataclass(frozen=True)
class Integers(Support):
    """The integers low, low + 1, …, high; None stands for infinity.

    A flow reads them dequantised, v + u with u in (0, 1) (`codecs.ColumnDequantization`): on the interval
    (low, high + 1).

    >>> Integers(0, 9).dequantised
    Interval(low=0, high=10)
    """

    low: int | None = None
    high: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the low end of integers is not above their high end; got {self.low} and {self.high}.")

    @property
    def dequantised(self) -> Interval:
        return Interval(self.low, self._end)

    @property
    def _end(self) -> int | None:
        return None if self.high is None else self.high + 1

    @property
    def constraint(self) -> constraints.Constraint:
        return self.dequantised.constraint

    @property
    def wide(self) -> bool:
        return max(abs(end or 0) for end in (self.low, self.high)) > INTEGERS

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _to_line(x, self.low, self._end)

    def from_line(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _from_line(z, self.low, self._end)


def _to_line(x: Tensor, low: float | None, high: float | None) -> tuple[Tensor, Tensor]:
    """x in (low, high) -> z, and log-slopes."""
    if low is None and high is None:
        return x, torch.zeros_like(x)
    above = torch.ones_like(x) if low is None else x - low
    below = torch.ones_like(x) if high is None else high - x
    inside = ~((above <= 0) | (below <= 0))  # or NaN, which stays NaN
    above, below = torch.where(inside, above, 1).log(), torch.where(inside, below, 1).log()
    span = 0.0 if low is None or high is None else math.log(high - low)
    return above - below, torch.where(inside, span - above - below, -math.inf)


def _from_line(z: Tensor, low: float | None, high: float | None) -> tuple[Tensor, Tensor]:
    """z -> x in (low, high), and log-slopes."""
    if low is not None and high is not None:
        x = low + (high - low) * z.sigmoid()
        log_slopes = math.log(high - low) + F.logsigmoid(z) + F.logsigmoid(-z)
    elif low is not None:
        x, log_slopes = low + _exp(z), z
    elif high is not None:
        x, log_slopes = high - _exp(-z), -z
    else:
        return z, torch.zeros_like(z)
    least = z.new_full((), -math.inf if low is None else low)
    most = z.new_full((), math.inf if high is None else high)
    inside = x.clamp(torch.nextafter(least, most), torch.nextafter(most, least))  # rounding may reach an end
    return inside, log_slopes


def _exp(z: Tensor) -> Tensor:
    """exp(z), at most the largest number: infinity, clamped, would have the gradient 0 · ∞."""
    kind = torch.finfo(z.dtype)
    return z.clamp(max=math.log(kind.max) * (1 - kind.eps)).exp()


def _is_narrow_beside_its_size(low: float, high: float) -> bool:
    """Whether float32 rounds values between these ends by more than a part `RESOLVED` of their distance."""
    return max(abs(low), abs(high)) * torch.finfo(torch.float32).eps > RESOLVED * (high - low)


class ProductSupport(constraints.Constraint):
    """The support of a whole event: elements at index i of the event's first dimension lie in supports[i].

    >>> support = ProductSupport((Interval(), Interval(0)), event=(2,))
    >>> support.check(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
    tensor([ True, False])
    """

    def __init__(self, supports: Sequence[Support], event: tuple[int, ...]):
        self.supports, self.event = tuple(supports), Size(event)

    @property
    def event_dim(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        return len(self.event)

    @property
    def integers(self) -> tuple[int, ...]:
        """The indices of features that are integers."""
        return tuple(i for i, support in enumerate(self.supports) if isinstance(support, Integers))

    def check(self, value: Tensor) -> Tensor:
        """Whether events lie in the support: (*batch, *event) -> (*batch) bool."""
        dim = value.dim() - len(self.event)
        features = zip(self.supports, value.unbind(dim), strict=True)
        inside = torch.stack([support.constraint.check(feature) for support, feature in features], dim)
        return inside.flatten(dim).all(-1)

    def outside(self, x: Events) -> Tensor:
        """Whether elements have a density of zero, bool of x's shape (batch, *event): on a circle none has."""
        return Unconstrain(self.supports).slopes(x)[1] == -math.inf

    def __repr__(self) -> str:
        return f"ProductSupport({self.supports}, event={tuple(self.event)})"


class Unconstrain(Triangular):
    """Maps each feature of a vector, or channel of an image, from its support to the real line.

    >>> line = Unconstrain([Interval(), Interval(0), Interval(-1, 1), Circle(0, 360)])
    >>> line(torch.tensor([[5.0, 1.0, 0.0, 180.0]]))[0]
    tensor([[5., 0., 0., 0.]])
    """

    causal = True

    def __init__(self, supports: Sequence[Support]):
        super().__init__()
        self.supports = tuple(supports)

    def support(self, event: tuple[int, ...]) -> constraints.Constraint:
        return ProductSupport(self.supports, event)

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        features = zip(self.supports, at_least_float32(x).unbind(1), strict=True)
        z, log_slopes = zip(*(support.to_line(feature) for support, feature in features), strict=True)
        return torch.stack(z, 1), torch.stack(log_slopes, 1)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        z = z.double() if any(support.wide for support in self.supports) else at_least_float32(z)
        features = zip(self.supports, z.unbind(1), strict=True)
        x, log_slopes = zip(*(support.from_line(feature) for support, feature in features), strict=True)
        return summed(torch.stack(x, 1), torch.stack(log_slopes, 1))

    def extra_repr(self) -> str:
        return ", ".join(str(support) for support in self.supports)

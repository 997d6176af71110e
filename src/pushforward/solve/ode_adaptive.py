"""Runge–Kutta methods that choose their steps: each row its own, so that its solution does not depend on its batch.

After each step an embedded method estimates the error of every controlled group of columns, of m elements:

    ratio = sqrt(mean over the group of (error / (atol + rtol max(|y(t)|, |y(t + h)|)))²)

A row whose largest ratio is at most 1 accepts its step. The next step is h · clip(0.9 ratio^(−1/order), 0.2, 10), and
no longer than h after a refused one. Hairer, Nørsett & Wanner 1993, section II.4, also for the first step.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.recording import hidden
from pushforward.shapes import PerSample
from pushforward.solve.ode import Field, ODESolver, Solution, Step, combined, stages
from pushforward.solve.tableaux import BOSH3, DOPRI5, TSIT5, Tableau

LEAST = 8  # a tolerance is at least so many roundings: below, the estimated error is rounding
SHORTEST = 16  # and a step so many, of the length of the whole interval


@dataclass(frozen=True)
class AdaptiveSteps(ODESolver):
    """The base class of methods with error control.

    `rtol` and `atol` are the relative and absolute tolerance of a step. By default both are eps^(2/3) / 4, where eps is
    the rounding of the arithmetic: 6e-6 in float32, 9e-12 in float64. `most` is the largest number of attempted steps.
    """

    rtol: float | None = None
    atol: float | None = None
    most: int = 10_000

    def __post_init__(self):
        for name in ("rtol", "atol"):
            if (tolerance := getattr(self, name)) is not None:
                check_number(tolerance, name, above=0)
        check_number(self.most, "most, a number of steps,", least=1)

    def tolerances(self, eps: float) -> tuple[float, float]:
        """rtol and atol for arithmetic of this rounding. Raises ValueError where it cannot resolve them."""
        default = max(eps ** (2 / 3) / 4, LEAST * eps)
        rtol, atol = (default if given is None else given for given in (self.rtol, self.atol))
        if rtol + atol < LEAST * eps:
            raise ValueError(
                f"this arithmetic rounds to {eps:.1e}, and cannot keep an error below rtol={rtol:g}, atol={atol:g}: "
                f"give tolerances whose sum is at least {LEAST * eps:.1e}, or use a wider dtype (flow.double())."
            )
        return rtol, atol

    def _solve(
        self, field: Field, y: Tensor, start: float, stop: float, controlled: tuple[int, ...], steps: list[Step] | None
    ) -> Solution:
        if hidden() or torch.compiler.is_compiling():
            raise RuntimeError(
                f"{type(self).__name__} chooses its steps by the values of its rows: a trace would keep those of its "
                "example for all others, and torch.func.vmap hides them. Do not trace or export the flow; trace "
                "flow.solved_by(solve.RK4(20)), whose steps are fixed, or the velocity alone. Map that flow too, or "
                "give all rows at once."
            )
        walk = _Walk(self, field, y, start, stop, controlled)
        for _ in range(self.most):
            if not walk.step(steps):
                return Solution(walk.ends, *walk.counts)
        raise walk.failure(walk.going.nonzero()[0], f"its {self.most:,} steps (most={self.most}) are used up")


@dataclass(frozen=True)
class Bosh3(AdaptiveSteps):
    """Bogacki and Shampine's method: order 3, three evaluations a step. For loose tolerances, of 1e-3 and more."""

    method: ClassVar[Tableau] = BOSH3


@dataclass(frozen=True)
class Dopri5(AdaptiveSteps):
    """Dormand and Prince's method: order 5, six evaluations a step. Also called RK45 and `ode45`."""

    method: ClassVar[Tableau] = DOPRI5


@dataclass(frozen=True)
class Tsit5(AdaptiveSteps):
    """Tsitouras' method: order 5, six evaluations a step, of smaller error than Dormand and Prince's."""

    method: ClassVar[Tableau] = TSIT5


class _Walk:
    """A solution on its way: the rows that still go, each at its own time with its own step."""

    def __init__(
        self, solver: AdaptiveSteps, field: Field, y: Tensor, start: float, stop: float, controlled: tuple[int, ...]
    ):
        self.method, self.controlled = solver.method, controlled
        self.rtol, self.atol = solver.tolerances(field.eps)
        self.stop, self.sign, self.length = stop, 1.0 if stop >= start else -1.0, abs(stop - start)
        self.shortest = SHORTEST * torch.finfo(y.dtype).eps * self.length
        self.ends, self.counts = y.clone(), torch.zeros(3, len(y), dtype=torch.int64, device=y.device)
        self.rows: Tensor | None = None  # None: all
        self.field, self.t = field, y.new_full((len(y),), start)
        self.slope = field(self.t, y)
        self.y = y.masked_fill(self.slope.isnan().any(1, keepdim=True), torch.nan)  # as where its context is
        self.going = self.y.isfinite().all(1) & (self.length > 0)  # a row that is not finite stays as it is
        self.careful = torch.zeros_like(self.going)  # after a refused step
        self.h = self._first()
        self.counts[0] += 2

    def step(self, steps: list[Step] | None) -> bool:
        """Attempt a step in every row that goes. Whether any still goes."""
        left = (self.stop - self.t).abs()
        last = 1.01 * self.h >= left  # rather a slightly longer step than a tiny one after it
        h = torch.where(last, left, self.h)
        y, slopes = stages(self.method, self.field, self.t, self.sign * h, self.y, self.slope)
        error = h[:, None] * combined(self.method.error, slopes)
        ratio = self._norm(error / (self.atol + self.rtol * torch.maximum(self.y.abs(), y.abs())))
        accepted = (ratio <= 1) & self.going  # not where it is not a number
        refused = ~accepted & self.going
        if steps is not None:
            steps.append(Step(self.rows, self.t, self.sign * torch.where(accepted, h, 0), self.y))
        self.counts[:, slice(None) if self.rows is None else self.rows] += torch.stack(
            [self.going * (len(slopes) - 1), accepted, refused]
        )
        self.y = torch.where(accepted[:, None], y, self.y)
        self.slope = torch.where(accepted[:, None], slopes[-1], self.slope)
        self.t = torch.where(accepted, torch.where(last, self.stop, self.t + self.sign * h), self.t)
        factor = 0.9 * ratio.clamp(min=1e-10) ** (-1 / self.method.order)
        factor = factor.nan_to_num(nan=0.0).clamp(0.2, 10)
        self.h = h * torch.where(refused | self.careful, factor.clamp(max=1), factor)
        self.careful = refused
        self.going = self.going & ~(accepted & last)
        stuck = self.going & (self.h < self.shortest)
        going, lost = torch.stack([self.going.sum(), stuck.sum()]).tolist()  # the only wait for the device
        if lost:
            raise self.failure(stuck.nonzero()[0], f"its step fell below {self.shortest:.1e}")
        if 2 * going <= len(self.going):
            self._leave()
        return bool(going)

    def failure(self, row: Tensor, why: str) -> FloatingPointError:
        """The error for a row that goes, (1,)."""
        t, place = self.t[row].item(), int((row if self.rows is None else self.rows[row]).item())
        return FloatingPointError(
            f"row {place} cannot be integrated beyond time {t:.4g}: after {self.counts[0, place].item():,} evaluations "
            f"{why}. The dynamics are stiff or explode there. Inspect that row; loosen rtol and atol; train with "
            "penalties on the velocity, weight decay or more steps; or compute in float64."
        )

    def _first(self) -> PerSample:
        """The first step: one whose explicit Euler step is small, and whose second derivative is."""
        scale = self.atol + self.rtol * self.y.abs()
        zero, one = self._norm(self.y / scale), self._norm(self.slope / scale)
        h = torch.where((zero < 1e-5) | (one < 1e-5), 1e-6, 0.01 * zero / one) * self.length
        h = h.clamp(max=self.length)
        step = self.sign * h
        change = self.field(self.t + step, torch.addcmul(self.y, step[:, None], self.slope)) - self.slope
        two = self._norm(change / scale) / h
        second = (0.01 / torch.maximum(one, two)) ** (1 / self.method.order)
        flat = torch.maximum(one, two) <= 1e-15
        h = torch.minimum(100 * h, torch.where(flat, (1e-3 * h).clamp(min=1e-6 * self.length), second))
        return h.nan_to_num(nan=1e-3 * self.length).clamp(self.shortest, self.length)

    def _norm(self, t: Tensor) -> PerSample:
        """The largest root mean square of a controlled group of columns, (rows,)."""
        groups = t[:, : sum(self.controlled)].square().split(self.controlled, 1)
        return torch.stack([group.mean(1) for group in groups]).amax(0).sqrt()

    def _leave(self) -> None:
        """Rows that have arrived are left out from now on."""
        here = self.going.nonzero()[:, 0]  # waits once for all that are indexed by it
        if self.rows is None:
            self.ends, self.rows = self.y.clone(), torch.arange(len(self.y), device=here.device)
        else:
            self.ends[self.rows] = self.y
        self.rows, self.field = self.rows[here], self.field.of(here)
        self.t, self.h, self.y, self.slope = self.t[here], self.h[here], self.y[here], self.slope[here]
        self.going, self.careful = self.going[here], self.careful[here]

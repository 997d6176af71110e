"""Runge–Kutta methods with a fixed number of equal steps: no error is known, and all rows take the same steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.solve.ode import Field, ODESolver, Solution, Step, stages
from pushforward.solve.tableaux import EULER, HEUN, MIDPOINT, Tableau
from pushforward.solve.tableaux import RK4 as CLASSICAL


@dataclass(frozen=True)
class FixedSteps(ODESolver):
    """The base class of methods with `steps` equal steps."""

    steps: int

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"a grid has one step or more; got steps={self.steps}.")

    @property
    def least_evaluations(self) -> float:
        return self.steps * len(self.method.b)

    def _solve(
        self, field: Field, y: Tensor, start: float, stop: float, controlled: tuple[int, ...], steps: list[Step] | None
    ) -> Solution:
        h = y.new_full(y.shape[:1], (stop - start) / self.steps)
        for k in range(self.steps):
            t = torch.full_like(h, start + (stop - start) * k / self.steps)
            if steps is not None:
                steps.append(Step(None, t, h, y))
            y, _ = stages(self.method, field, t, h, y, field(t, y))
        count = torch.ones_like(h, dtype=torch.int64)
        return Solution(y, self.steps * len(self.method.b) * count, self.steps * count, 0 * count)


@dataclass(frozen=True)
class Euler(FixedSteps):
    """y + h f(t, y): order 1, one evaluation a step."""

    method: ClassVar[Tableau] = EULER


@dataclass(frozen=True)
class Midpoint(FixedSteps):
    """y + h f(t + h/2, y + h/2 f(t, y)): order 2, two evaluations a step. Also called modified Euler."""

    method: ClassVar[Tableau] = MIDPOINT


@dataclass(frozen=True)
class Heun(FixedSteps):
    """y + h/2 (k_1 + f(t + h, y + h k_1)), k_1 = f(t, y): order 2, two evaluations a step. The explicit trapezoid."""

    method: ClassVar[Tableau] = HEUN


@dataclass(frozen=True)
class RK4(FixedSteps):
    """The classical Runge–Kutta method: order 4, four evaluations a step."""

    method: ClassVar[Tableau] = CLASSICAL

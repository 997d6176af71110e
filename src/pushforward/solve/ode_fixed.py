"""Methods with a fixed number of equal steps: no error is known, and all rows take the same steps."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.solve.ode import Field, ODESolver, Solution, Step, stages
from pushforward.solve.tableaux import EULER, HEUN, MIDPOINT, Tableau
from pushforward.solve.tableaux import RK4 as CLASSICAL


@dataclass(frozen=True)
class FixedSteps(ODESolver):
    """The base class of methods with `steps` equal steps."""

    steps: int

    def __post_init__(self):
        check_number(self.steps, "steps", least=1)

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


@dataclass(frozen=True)
class Jumps(FixedSteps):
    """`steps` equal jumps of the flow map that the network has learned (`models.FlowMap`), each one pass of it.

    As accurate as the map is, and without integrals along the trajectory, so without a log-determinant. Raises
    ValueError where these are wanted, or the network has learned no map. Boffi et al. 2025, arXiv:2505.18825.
    """

    @property
    def least_evaluations(self) -> float:
        return 0  # of the velocity

    def integrate(
        self, field: Field, y: Tensor, start: float, stop: float, *, controlled: tuple[int, ...] = ()
    ) -> Solution:
        jump: Any = getattr(field, "jump", None)
        for k in range(self.steps):
            a, b = (y.new_full(y.shape[:1], start + (stop - start) * at / self.steps) for at in (k, k + 1))
            moved = jump and jump(a, b, y)
            if moved is None:
                raise ValueError(
                    "jumps are those of a flow map that the network has learned, and give no integrals along the "
                    "trajectory: train a models.FlowMap, or use Euler."
                )
            y = moved
        count = torch.full(y.shape[:1], self.steps, dtype=torch.int64, device=y.device)
        return Solution(y, count, count, torch.zeros_like(count))

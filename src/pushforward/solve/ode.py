"""Solvers of ordinary differential equations dy/dt = f(t, y), for a batch of rows.

A solver is a configuration, plain data: `Dopri5(rtol=1e-6)`, `RK4(steps=100)`. Its `integrate` returns the value at
the end, and for each row the number of evaluations of f and of accepted and refused steps.

Gradients are those of the discrete solution, its steps being constants. The value at the start of each step is kept;
the backward pass computes the stages of a step again, from the last to the first, so memory does not grow with the
depth of the network behind f. Where a derivative of the gradient is wanted, in forward mode and under torch.func, all
steps are taken again at once, as part of one graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from pushforward.recording import differentiated
from pushforward.shapes import PerSample, present_autocast
from pushforward.solve.tableaux import Tableau


class Field(Protocol):
    """The right-hand side f: times (rows,) and values (rows, n) -> slopes dy/dt (rows, n)."""

    @property
    def eps(self) -> float:
        """The rounding of its arithmetic, relative to 1."""
        ...

    @property
    def tensors(self) -> Sequence[Tensor]:
        """What gradients reach, other than y: the network's parameters, the context."""
        ...

    def __call__(self, t: PerSample, y: Tensor) -> Tensor: ...

    def of(self, rows: Tensor) -> Field:
        """The field of these rows alone, (m,) int64 or a mask (rows,) bool."""
        ...


class Solution(NamedTuple):
    """The value at the end, and what it took."""

    y: Tensor  # (batch, n)
    evaluations: Tensor  # (batch,) int64, of f: "NFE"
    accepted: Tensor  # (batch,) int64, steps
    refused: Tensor  # (batch,) int64, steps whose error was too large, which were tried again with smaller ones


class Step(NamedTuple):
    """One step of some rows. h is 0 in rows where it was refused."""

    rows: Tensor | None  # (m,) their places in the batch; None: all
    t: PerSample  # (m,)
    h: PerSample  # (m,), signed
    y: Tensor  # (m, n) at time t


class ODESolver(ABC):
    """The contract of a solver: a frozen dataclass."""

    method: ClassVar[Tableau]

    @property
    def least_evaluations(self) -> float:
        """How many evaluations of f every solution takes at least; infinity where errors are controlled."""
        return float("inf")

    def integrate(
        self, field: Field, y: Tensor, start: float, stop: float, *, controlled: tuple[int, ...] = ()
    ) -> Solution:
        """The value at `stop` of the solution that is `y` (batch, n) at `start`.

        `controlled` are the sizes of the leading groups of columns whose errors are controlled, each for itself; by
        default all columns are one group. Raises FloatingPointError, with time, evaluations and row, where the
        solution cannot be continued, and ValueError where the tolerance is beneath what the arithmetic resolves.
        """
        # compilers do not trace it, as the number of steps depends on values; they may compile the network behind it
        solve = torch.compiler.disable(_integrated)
        return solve(self, field, y, start, stop, controlled or (y.shape[1],))  # pyright: ignore[reportCallIssue]

    @abstractmethod
    def _solve(
        self, field: Field, y: Tensor, start: float, stop: float, controlled: tuple[int, ...], steps: list[Step] | None
    ) -> Solution:
        """Without gradients. Appends to `steps` what was accepted."""


def _integrated(
    solver: ODESolver, field: Field, y: Tensor, start: float, stop: float, controlled: tuple[int, ...]
) -> Solution:
    at_once = differentiated()
    wanted = at_once or (torch.is_grad_enabled() and any(t.requires_grad for t in (y, *field.tensors)))
    steps: list[Step] | None = [] if wanted else None
    with torch.no_grad():
        solution = solver._solve(field, y.detach(), start, stop, controlled, steps)
    if steps is None:
        return solution
    tensors = [t for t in field.tensors if t.requires_grad]
    taken = _Taken(solver.method.without_error, field, steps, tensors)
    if at_once:
        return solution._replace(y=taken.all_again(y))
    return solution._replace(y=_Recomputed.apply(taken, solution.y, y, *tensors))


def stages(
    tableau: Tableau, field: Field, t: PerSample, h: PerSample, y: Tensor, first: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """y(t + h) (rows, n), and the slopes of all stages, of which `first` is the first."""
    slopes, size, at = [first], h[:, None], y
    for row, c in zip(tableau.a, tableau.c, strict=True):
        at = torch.addcmul(y, size, combined(row, slopes))
        slopes.append(field(t + c * h, at))
    if tableau.a and tableau.a[-1] == tableau.b[:-1]:  # the last stage is the first of the next step
        return at, slopes
    return torch.addcmul(y, size, combined(tableau.b, slopes)), slopes


def combined(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Σ weight · slope."""
    pairs = [(weight, slope) for weight, slope in zip(weights, slopes, strict=False) if weight]
    total = pairs[0][0] * pairs[0][1]
    for weight, slope in pairs[1:]:
        total = torch.add(total, slope, alpha=weight)
    return total


class _Taken(NamedTuple):
    """The steps of a solution, and what is needed to take them again."""

    tableau: Tableau
    field: Field
    steps: list[Step]
    tensors: list[Tensor]

    def again(self, step: Step, y: Tensor) -> Tensor:
        """The end of a step from y, with gradients."""
        field = self.field if step.rows is None else self.field.of(step.rows)
        t, h = step.t.detach(), step.h.detach()
        return stages(self.tableau, field, t, h, y, field(t, y))[0]

    def all_again(self, y: Tensor) -> Tensor:
        """The end of all steps from y, as one graph."""
        for step in self.steps:
            rows = step.rows
            y = self.again(step, y) if rows is None else y.index_copy(0, rows, self.again(step, y[rows]))
        return y


class _Recomputed(torch.autograd.Function):
    """The identity of a known solution, whose gradient takes its steps again."""

    @staticmethod
    def forward(ctx: Any, taken: _Taken, solution: Tensor, y: Tensor, *tensors: Tensor) -> Tensor:  # noqa: ARG004
        ctx.taken, ctx.y, ctx.autocast = taken, y, present_autocast(y)
        return solution

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(*ctx.autocast):
            if torch.is_grad_enabled():
                return None, None, *_with_graph(ctx.taken, ctx.y, grads[0])
            return None, None, *_step_by_step(ctx.taken, grads[0])


def _step_by_step(taken: _Taken, grad: Tensor) -> list[Tensor | None]:
    """The gradients with respect to y and the tensors: one step's graph is in memory at a time."""
    grad, sums = grad.clone(), [torch.zeros_like(t) for t in taken.tensors]
    for step in reversed(taken.steps):
        with torch.enable_grad():
            y = step.y.detach().requires_grad_()
            end = taken.again(step, y)
        here = grad if step.rows is None else grad[step.rows]
        back, *slopes = torch.autograd.grad(end, [y, *taken.tensors], here, allow_unused=True, materialize_grads=True)
        if step.rows is None:
            grad = back
        else:
            grad[step.rows] = back
        sums = [total + slope for total, slope in zip(sums, slopes, strict=True)]
    return [grad, *sums]


def _with_graph(taken: _Taken, y: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """The same gradients, of which gradients can be taken."""
    return torch.autograd.grad(taken.all_again(y), [y, *taken.tensors], grad, create_graph=True, materialize_grads=True)

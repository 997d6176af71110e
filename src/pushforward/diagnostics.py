"""What can be told of a transform's arithmetic on given events."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.conditions import Context, each
from pushforward.moves import Concatenated, Move, RationalQuadraticSpline
from pushforward.shapes import Events
from pushforward.transform import Inverse, Transform, Triangular
from pushforward.transforms import Autoregressive, Coupling, Linear, Permuted, Rearrangement

SOME = 1e-3  # of the numbers that come to splines: more outside their bounds are warned of


@dataclass(frozen=True)
class Step:
    """What one step did to the numbers that came to it.

    least and greatest are of its log-slopes log|dz/dx|; of a linear map, those of its singular values' logarithms.
    """

    name: str  # its place in the chain, and what it is
    least: float
    greatest: float
    condition: float  # the condition number of a linear map; nan for others
    outside: float  # the share of numbers that came to a spline outside its bounds; nan without one


@dataclass(frozen=True)
class Diagnostics:
    """The largest errors found on a batch, and what each step did to it; the precision is the events' own. Print it."""

    round_trip: float  # largest |inverse(forward(x)) − x|
    latent_round_trip: float  # largest |forward(inverse(z)) − z|, at the latents of x
    log_det_error: float  # largest |log_det − log|det| of the autograd Jacobian|, in nats, over the first rows
    log_det_rows: int  # how many rows that was
    finite: float  # the share of rows whose latent and log_det are finite
    exact: bool  # whether log-dets are computed: an estimate's error is its noise
    steps: tuple[Step, ...]  # those that know their slopes or their matrix

    @property
    def outside(self) -> float:
        """The greatest share of numbers that came to a spline outside its bounds; nan without splines."""
        return max((step.outside for step in self.steps if not math.isnan(step.outside)), default=math.nan)

    def __str__(self) -> str:
        told = [
            f"round trip within {self.round_trip:.1e}, of latents {self.latent_round_trip:.1e}",
            f"log-det{'' if self.exact else ', an estimate,'} within {self.log_det_error:.1e} nats of autograd's "
            f"({self.log_det_rows} rows)",
            f"{self.finite:.1%} of rows finite",
        ]
        if self.steps:
            least, greatest = min(self.steps, key=lambda s: s.least), max(self.steps, key=lambda s: s.greatest)
            ends = f"{least.least:.1f} ({least.name}) to {greatest.greatest:.1f} ({greatest.name})"
            told.append(f"log-slopes from {ends}")
        linear = [step for step in self.steps if not math.isnan(step.condition)]
        if linear:
            worst = max(linear, key=lambda s: s.condition)
            told.append(f"linear maps' condition numbers up to {worst.condition:.3g} ({worst.name})")
        if not math.isnan(self.outside):
            told.append(f"up to {self.outside:.2%} of numbers outside a spline's bounds")
        return "; ".join(told)


def check(transform: Transform, x: Events, context: Context | None = None, *, rows: int = 2) -> Diagnostics:
    """Run the transform both ways, and compare the log-det of the first `rows` with the autograd Jacobian's.

    The comparison costs a backward pass for every number of an event, and their square in memory: rows=0 leaves it out.
    Warns where more than one number in a thousand lies outside the bounds of a spline, which then does nothing.
    """
    if not len(x):
        raise ValueError("there are no events to check.")
    with torch.no_grad():
        with _watched(transform) as steps:
            z, log_det = transform(x, context)
        back, _ = transform.inverse(z, context)
        again, _ = transform(back, context)
    finite = z.flatten(1).isfinite().all(1) & log_det.isfinite()
    rows = min(rows, len(x))
    errors = [(jacobian_log_det(transform, x, context, row=i) - log_det[i]).abs() for i in range(rows)]
    lost = [step for step in steps if step.outside > SOME]
    if lost:
        told = ", ".join(f"{step.outside:.1%} in step {step.name}" for step in lost)
        warnings.warn(
            f"numbers that come to splines lie outside their bounds, where they stay as they are: {told}. "
            "Let flow.initialize measure such events, or give the splines wider bounds.",
            RuntimeWarning,
            stacklevel=3,
        )
    return Diagnostics(
        round_trip=(back - x).abs().max().item(),
        latent_round_trip=(again - z).abs().max().item(),
        log_det_error=max((error.item() for error in errors), default=math.nan),
        log_det_rows=rows,
        finite=finite.double().mean().item(),
        exact=is_exact(transform),
        steps=tuple(steps),
    )


def is_exact(transform: Transform) -> bool:
    """Whether every log-det is computed; False where a part estimates its own, and says so by `exact`."""
    return all(getattr(part, "exact", True) for part in transform.modules())


@contextmanager
def _watched(transform: Transform) -> Iterator[list[Step]]:
    """What each part does to the events that go forward through it meanwhile."""
    found: list[Step] = []

    def watch(name: str, part: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(part: Transform, args: tuple[Any, ...], answer: tuple[Events, Tensor]) -> None:
            x, context = args if len(args) == 2 else (args[0], None)
            extent = _extent(part, x, answer[0], context)
            if extent is not None:
                core = _core(part)
                label = f"{name.replace('parts.', '')} {type(core).__name__}".strip()
                least, greatest = (end.item() for end in extent)
                condition = math.exp(greatest - least) if isinstance(core, Linear) else math.nan
                found.append(Step(label, least, greatest, condition, _outside(core, x)))

        return part.register_forward_hook(look)

    hooks = [watch(name, part) for name, part in transform.named_modules() if isinstance(part, Transform)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _extent(step: Transform, x: Events, z: Events, context: Context | None) -> tuple[Tensor, Tensor] | None:
    """The least and greatest log-slopes of a step from x to z; None if it does not know them, or moves nothing."""
    if isinstance(step, Inverse):
        back = _extent(step.transform, z, x, context)
        return back and (-back[1], -back[0])
    if isinstance(step, Linear):
        return torch.linalg.svdvals(step.matrix()).log().aminmax()
    if isinstance(step, Triangular) and not isinstance(step, Rearrangement):
        return step.slopes(x, context)[1].aminmax()
    return None


def _core(step: nn.Module) -> nn.Module:
    """The step inside those that only change its order or its direction."""
    while isinstance(step, Permuted | Inverse):
        step = step.step if isinstance(step, Permuted) else step.transform
    return step


def _outside(step: nn.Module, x: Events) -> float:
    """The share of numbers that lie outside the bounds of the step's spline; nan without one."""

    def by(move: Move, x: Tensor) -> list[Tensor]:
        if isinstance(move, Concatenated):
            first, rest = x.tensor_split((move.count,), -1)
            return by(move.first, first) + by(move.rest, rest)
        return [(x.abs() >= move.bound).flatten()] if isinstance(move, RationalQuadraticSpline) else []

    if not isinstance(step, Autoregressive | Coupling):
        return math.nan
    found = by(step.move, step.split.apart(x)[1] if isinstance(step, Coupling) else x)
    return torch.cat(found).double().mean().item() if found else math.nan


def jacobian_log_det(transform: Transform, x: Events, context: Context | None, *, row: int) -> Tensor:
    """log|det dz/dx| of one row of x from its autograd Jacobian, in float64: a backward pass for each number."""
    context = each(context or {}, lambda t: t[row : row + 1])
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(lambda t: transform(t, context)[0].flatten(), x[row : row + 1])
    return torch.linalg.slogdet(jacobian.reshape(x[0].numel(), -1).double()).logabsdet

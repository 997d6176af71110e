"""Diagnostics: how exact a transform's arithmetic is on given events, and what each of its steps did to them."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.conditions import Context, each
from pushforward.shapes import Events
from pushforward.transform import Diagnosis, Transform

TOLERATED = 1e-3  # `check` warns where a larger share of elements lies outside the bounds of a spline


@dataclass(frozen=True)
class Step:
    """What one step did to its input events: the extremes of its `transform.Diagnosis`.

    `least` and `greatest` are those of log-slopes log|dz/dx|, or of the logarithms of a matrix's singular values.
    """

    name: str  # its place in the chain, and its class
    least: float
    greatest: float
    condition: float  # the condition number of a linear map; nan for others
    outside: float  # the share of elements outside the bounds of a spline; nan for others
    evaluations: float = math.nan  # of the velocity of a continuous transform, the mean over rows ("NFE")
    refused: float = math.nan  # steps of its solver that were too long, the mean over rows


@dataclass(frozen=True)
class Diagnostics:
    """The largest errors on a batch, in the precision of its events, and what each step did. It prints as one line."""

    round_trip: float  # largest |inverse(forward(x)) − x|
    latent_round_trip: float  # largest |forward(inverse(z)) − z|, at the latents of x
    log_det_error: float  # largest |log_det − log|det| of the autograd Jacobian|, in nats, over the first rows
    log_det_rows: int  # how many rows that was; where none, the error is nan
    finite: float  # the share of rows whose latent and log_det are finite
    exact: bool  # whether log-dets are computed exactly; the error of an estimate is noise
    steps: tuple[Step, ...]  # those that have a diagnosis

    @property
    def outside(self) -> float:
        """The greatest share of elements outside the bounds of a spline, over all steps; nan without splines."""
        return max((step.outside for step in self.steps if not math.isnan(step.outside)), default=math.nan)

    def __str__(self) -> str:
        parts = [f"round trip within {self.round_trip:.1e}, of latents {self.latent_round_trip:.1e}"]
        if self.log_det_rows:
            error = f"within {self.log_det_error:.1e} nats of autograd's ({self.log_det_rows} rows)"
            parts.append(f"log-det{'' if self.exact else ', an estimate,'} {error}")
        parts.append(f"{self.finite:.1%} of rows finite")
        if self.steps:
            least, greatest = min(self.steps, key=lambda s: s.least), max(self.steps, key=lambda s: s.greatest)
            ends = f"{least.least:.1f} ({least.name}) to {greatest.greatest:.1f} ({greatest.name})"
            parts.append(f"log-slopes from {ends}")
        linear = [step for step in self.steps if not math.isnan(step.condition)]
        if linear:
            worst = max(linear, key=lambda s: s.condition)
            parts.append(f"linear maps' condition numbers up to {worst.condition:.3g} ({worst.name})")
        solved = [step for step in self.steps if not math.isnan(step.evaluations)]
        parts += [f"{s.evaluations:.1f} evaluations a row, {s.refused:.1f} steps refused ({s.name})" for s in solved]
        if not math.isnan(self.outside):
            parts.append(f"up to {self.outside:.2%} of elements outside a spline's bounds")
        return "; ".join(parts)


def check(transform: Transform, x: Events, context: Context | None = None, *, rows: int = 2) -> Diagnostics:
    """Run the transform in both directions, and compare log-dets of the first `rows` with the autograd Jacobian's.

    The comparison takes a backward pass for each element of an event, and memory for the square of their number:
    rows=0 omits it. Warns where more than one element in a thousand lies outside the bounds of a spline, where it is
    the identity. Raises ValueError where there are no events.
    """
    if not len(x):
        raise ValueError("there are no events to check: x has no rows.")
    with torch.no_grad():
        with _diagnosed(transform) as steps:
            z, log_det = transform(x, context)
        back, _ = transform.inverse(z, context)
        again, _ = transform(back, context)
    finite = z.flatten(1).isfinite().all(1) & log_det.isfinite()
    rows = min(rows, len(x))
    errors = [(jacobian_log_det(transform, x, context, row=i) - log_det[i]).abs() for i in range(rows)]
    lost = [step for step in steps if step.outside > TOLERATED]
    if lost:
        shares = ", ".join(f"{step.outside:.1%} in step {step.name}" for step in lost)
        warnings.warn(
            f"elements lie outside the bounds of splines, or in the tails of histograms: {shares}. "
            "Call flow.initialize on such events, or give the splines wider bounds.",
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
    """Whether every log-det is computed exactly; False where any part estimates its own."""
    return all(part.exact for part in transform.modules() if isinstance(part, Transform))


@contextmanager
def _diagnosed(transform: Transform) -> Iterator[list[Step]]:
    """In this block, collect a `Step` from every part that is called. A part that has one speaks for its own parts."""
    found: list[Step] = []
    paths: list[str] = []

    def hook(name: str, part: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def diagnose(part: Transform, args: tuple[Any, ...], answer: tuple[Events, Tensor]) -> None:
            diagnosis = part.diagnose(args[0], answer[0], *args[1:])
            if diagnosis is None:
                return
            while paths and paths[-1].startswith(f"{name}." if name else ""):
                paths.pop()
                found.pop()
            paths.append(name)
            found.append(_step(name, diagnosis))

        return part.register_forward_hook(diagnose)

    handles = [hook(name, part) for name, part in transform.named_modules() if isinstance(part, Transform)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _step(name: str, diagnosis: Diagnosis) -> Step:
    least, greatest = (end.item() for end in diagnosis.log_slopes.aminmax())
    label = f"{name.replace('parts.', '')} {diagnosis.kind}".strip()
    means = (_mean(t) for t in (diagnosis.outside, diagnosis.evaluations, diagnosis.refused))
    return Step(label, least, greatest, diagnosis.condition, *means)


def _mean(t: Tensor | None) -> float:
    return math.nan if t is None else t.double().mean().item()


def jacobian_log_det(transform: Transform, x: Events, context: Context | None, *, row: int) -> Tensor:
    """log|det dz/dx| of one row of x from its autograd Jacobian, in float64: a backward pass for each element."""
    with torch.inference_mode(False), torch.enable_grad():
        x, context = x[row : row + 1].clone(), each(context or {}, lambda t: t[row : row + 1].clone())
        jacobian = torch.autograd.functional.jacobian(lambda t: transform(t, context)[0].flatten(), x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), -1).double()).logabsdet

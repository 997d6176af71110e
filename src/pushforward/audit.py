"""What can be told of a transform's arithmetic on given events."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.context import Context
from pushforward.moves import RationalQuadraticSpline
from pushforward.shapes import Events
from pushforward.transform import Transform


@dataclass(frozen=True)
class Audit:
    """The largest errors found on a batch; the precision is the events' own."""

    round_trip: float  # largest |inverse(forward(x)) − x|
    latent_round_trip: float  # largest |forward(inverse(z)) − z|, at the latents of x
    log_det_error: float  # largest |log_det − log|det| of the autograd Jacobian|, in nats, over the first rows
    log_det_rows: int  # how many rows that was
    finite: float  # the share of rows whose latent and log_det are finite
    outside: float  # the share of numbers that came to splines outside their bounds; nan without splines

    def __str__(self) -> str:
        return (
            f"round trip within {self.round_trip:.1e}, of latents {self.latent_round_trip:.1e}; "
            f"log-det within {self.log_det_error:.1e} nats of autograd's ({self.log_det_rows} rows); "
            f"{self.finite:.1%} of rows finite"
            + ("" if math.isnan(self.outside) else f"; {self.outside:.2%} of numbers outside the splines' bounds")
        )


def audit(transform: Transform, x: Events, context: Context | None = None, *, rows: int = 2) -> Audit:
    """Run the transform both ways, and compare the log-det of the first `rows` with the autograd Jacobian's.

    The comparison costs a backward pass for every number of an event, and their square in memory: rows=0 leaves it out.
    Warns where more than one number in a thousand lies outside the bounds of the splines, which then do nothing.
    """
    if not len(x):
        raise ValueError("there are no events to check.")
    with torch.no_grad():
        with _watched(transform) as outside:
            z, log_det = transform(x, context)
        back, _ = transform.inverse(z, context)
        again, _ = transform(back, context)
    finite = z.flatten(1).isfinite().all(1) & log_det.isfinite()
    rows = min(rows, len(x))
    share = torch.cat(outside).double().mean().item() if outside else math.nan
    if share > 1e-3:
        warnings.warn(
            f"{share:.1%} of the numbers that come to splines lie outside their bounds, where they stay as they are. "
            "Let flow.initialise measure such events, or give the splines wider bounds.",
            RuntimeWarning,
            stacklevel=3,
        )
    errors = [(jacobian_log_det(transform, x, context, row=i) - log_det[i]).abs() for i in range(rows)]
    return Audit(
        round_trip=(back - x).abs().max().item(),
        latent_round_trip=(again - z).abs().max().item(),
        log_det_error=max((error.item() for error in errors), default=math.nan),
        log_det_rows=rows,
        finite=finite.double().mean().item(),
        outside=share,
    )


@contextmanager
def _watched(transform: Transform) -> Iterator[list[Tensor]]:
    """Which numbers came to each spline outside its bounds, as they go forward meanwhile."""
    found: list[Tensor] = []

    def look(step: nn.Module, args: tuple[Tensor, ...]) -> None:
        moved = step.split.apart(args[0])[1] if hasattr(step, "split") else args[0]  # pyright: ignore
        found.append((moved.abs() >= step.move.bound).flatten())  # pyright: ignore

    steps = [step for step in transform.modules() if isinstance(getattr(step, "move", None), RationalQuadraticSpline)]
    hooks = [step.register_forward_pre_hook(look) for step in steps]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def jacobian_log_det(transform: Transform, x: Events, context: Context | None, *, row: int) -> Tensor:
    """log|det dz/dx| of one row of x from its autograd Jacobian, in float64: a backward pass for each number."""
    context = context and context.each(lambda t: t[row : row + 1])
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(lambda t: transform(t, context)[0].flatten(), x[row : row + 1])
    return torch.linalg.slogdet(jacobian.reshape(x[0].numel(), -1).double()).logabsdet

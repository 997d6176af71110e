"""Numerical stress of rational-quadratic splines: ours, zuko's and nflows'.

    python benchmarks/splines.py        (needs the `dev` extra)

Every spline gets the same raw parameters, scale · N(0, 1), and bounds them in its own way; ours also in zuko's way, at
a contrast of 1000. A row is the worst over 20,000 elements: uniform inside the bounds, on the spline's own knots and an
ulp beside them, at the bounds, and far outside. The error is of x -> y -> x, and beside it in units of the conditioning
limit eps · bound / slope, with the spline's own slope at x, or 1 if that is less. Then the processor's time of both
directions with and without gradients, on one thread, in turns, medians.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from nflows.transforms.splines import unconstrained_rational_quadratic_spline
from torch import Tensor
from zuko.transforms import MonotonicRQSTransform

from pushforward.moves import RationalQuadraticSpline

BINS, BOUND, ELEMENTS = 8, 5.0, 20_000
ROUNDS, SHAPE = 9, (4096, 32)
Door = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Spline:
    """x or y and raw parameters -> the other and log-slopes; and the knots in x."""

    forward: Door
    inverse: Door
    knots: Callable[[Tensor], Tensor]


def split(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return raw.split((BINS, BINS, BINS - 1), -1)


def zuko_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    return MonotonicRQSTransform(*split(raw), bound=BOUND).call_and_ladj(x)


def zuko_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    return MonotonicRQSTransform(*split(raw), bound=BOUND).inv.call_and_ladj(y)


def nflows_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    return unconstrained_rational_quadratic_spline(x, *split(raw), tail_bound=BOUND)


def nflows_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    return unconstrained_rational_quadratic_spline(y, *split(raw), inverse=True, tail_bound=BOUND)


def nflows_knots(raw: Tensor) -> Tensor:
    widths = 1e-3 + (1 - 1e-3 * BINS) * split(raw)[0].softmax(-1)
    return 2 * BOUND * F.pad(widths.cumsum(-1), (1, 0)) - BOUND


def ours(move: RationalQuadraticSpline) -> Spline:
    return Spline(
        move.forward,
        move.inverse,
        lambda raw: move.params(raw).x,
    )


ZUKO = Spline(zuko_forward, zuko_inverse, lambda raw: MonotonicRQSTransform(*split(raw), bound=BOUND).horizontal)
SPLINES = {
    "pushforward": ours(RationalQuadraticSpline(BINS, BOUND)),
    "pushforward, contrast 1000": ours(RationalQuadraticSpline(BINS, BOUND, contrast=1000.0)),
    "zuko": ZUKO,
    "nflows": Spline(nflows_forward, nflows_inverse, nflows_knots),
}
TIMED = {name: spline for name, spline in SPLINES.items() if "contrast" not in name}


def places(spline: Spline, raw: Tensor) -> Tensor:
    """A fifth of the rows each: uniform, on a knot, an ulp below, an ulp above; at the bounds and far outside."""
    generator = torch.Generator().manual_seed(1)
    uniform, knots, below, above, outer = torch.arange(len(raw)).chunk(5)
    x = BOUND * (2 * torch.rand(len(raw), generator=generator, dtype=raw.dtype) - 1)
    which = torch.randint(BINS + 1, (len(raw), 1), generator=generator)
    on = spline.knots(raw).detach().gather(-1, which).squeeze(-1)
    x[knots], x[below], x[above] = on[knots], on[below].nextafter(on[below] - 1), on[above].nextafter(on[above] + 1)
    far = torch.tensor([BOUND, -BOUND, 8.0, -30.0, 1e4, -1e4], dtype=raw.dtype)
    x[outer] = far[torch.arange(len(outer)) % len(far)]
    return x


def stress(spline: Spline, scale: float, dtype: torch.dtype) -> str:
    torch.manual_seed(0)
    raw = (scale * torch.randn(ELEMENTS, 3 * BINS - 1, dtype=dtype)).requires_grad_()
    x = places(spline, raw).requires_grad_()
    y, log_slopes = spline.forward(x, raw)
    forward = torch.autograd.grad(y.sum() + log_slopes.sum(), (x, raw))
    try:
        back, back_slopes = spline.inverse(y.detach().requires_grad_(), raw)
        inverse = torch.autograd.grad(back.sum() + back_slopes.sum(), raw)
    except AssertionError:
        return "AssertionError | – | – | –"
    with torch.no_grad():
        error = (back - x).abs()
        limit = torch.finfo(dtype).eps * BOUND / log_slopes.exp().clamp(max=1)
        lost = int((~back.isfinite()).sum())
        gradients = sum(int((~g.isfinite()).sum()) for g in (*forward, *inverse))
        return f"{error.nan_to_num(0).max():.1e} | {(error / limit).nan_to_num(0).max():.1f} | {lost} | {gradients}"


def seconds(spline: Spline, which: str, gradients: bool) -> float:
    raw = torch.randn(*SHAPE, 3 * BINS - 1, requires_grad=gradients)
    x = torch.randn(SHAPE, requires_grad=gradients)
    start = time.process_time()
    y, log_slopes = getattr(spline, which)(x, raw)
    if gradients:
        (y.square().sum() + log_slopes.sum()).backward()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    print("| precision | raw parameters | spline | error in x | in limits | not finite | gradients not finite |")
    print("|---|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.float64):
        for scale in (1.0, 10.0, 100.0):
            for name, spline in SPLINES.items():
                kind = str(dtype).removeprefix("torch.")
                print(f"| {kind} | {scale:g} · N(0, 1) | {name} | {stress(spline, scale, dtype)} |", flush=True)
    print(f"\n| {SHAPE[0]} × {SHAPE[1]} elements, {BINS} bins, float32, ms | {' | '.join(TIMED)} |")
    print(f"|---|{'---|' * len(TIMED)}")
    for which, gradients in itertools.product(("forward", "inverse"), (False, True)):
        times = {name: [] for name in TIMED}
        for _ in range(ROUNDS):
            for name, spline in TIMED.items():
                times[name].append(seconds(spline, which, gradients))
        what = which + (" and gradients" if gradients else "")
        print(f"| {what} | {' | '.join(f'{statistics.median(t) * 1e3:.0f}' for t in times.values())} |")
    print(f"\none thread, torch {torch.__version__}")


if __name__ == "__main__":
    main()

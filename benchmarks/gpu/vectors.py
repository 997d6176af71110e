"""Flows of vectors: densities and samples, eager and captured, against zuko's and nflows' where they are installed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

import pushforward as pf
from benchmarks.gpu.checks import eager, randomised
from benchmarks.gpu.part import Machine, Part, Task, in_turn, once, peak
from pushforward.models import MAF, NSF, RealNVP

FEATURES, STEPS, HIDDEN = 64, 3, (128, 128)
OURS = {
    "RealNVP": lambda: RealNVP(features=FEATURES, transforms=STEPS, hidden=HIDDEN).build(),
    "MAF": lambda: MAF(features=FEATURES, transforms=STEPS, hidden=HIDDEN).build(),
    "NSF, coupling": lambda: NSF(features=FEATURES, transforms=STEPS, hidden=HIDDEN).build(),
    "NSF, autoregressive": lambda: NSF(features=FEATURES, transforms=STEPS, hidden=HIDDEN, autoregressive=True).build(),
}


def peers(model: str) -> dict[str, nn.Module]:
    """zuko's and nflows' flows of this kind; none where they are not installed."""
    try:
        from benchmarks.peers import SIDES
    except ModuleNotFoundError:
        return {}
    return {side: make(FEATURES, STEPS) for side, make in SIDES[model].items() if side != "ours"}


def tasks(flow: nn.Module, x: Tensor) -> dict[str, Task]:
    """zuko's flows are made into distributions at every call, as their users do."""

    def distribution() -> nn.Module:
        return flow() if type(flow).__module__.startswith("zuko") else flow

    @torch.no_grad()
    def score() -> object:
        return distribution().log_prob(x)

    @torch.no_grad()
    def sample() -> object:
        made = distribution()
        return made.sample(len(x) if made is flow else (len(x),))

    return {"log_prob": score, "sample": sample}


def rows(machine: Machine, seconds: float, *, batch: int) -> Iterator[str]:
    x = torch.randn(32 if machine.small else batch, FEATURES, device=machine.device)
    each = seconds / len(OURS) / 2
    for model, make in OURS.items():
        flow = randomised(make()).to(machine.device)
        sides = {"eager": flow, "captured": pf.graphed(flow), **peers(model)}
        jobs = {side: tasks(of.to(machine.device), x) for side, of in sides.items()}
        for task in ("log_prob", "sample"):
            timed, slow = {side: job[task] for side, job in jobs.items()}, {}
            with eager():
                before = timed.pop("eager")
                before()
                took = in_turn({"eager": before}, machine.device, each / 4)
            for side in [side for side in timed if side != "captured"]:
                if (first := once(timed[side], machine.device)) > 1e3 * each / 8:
                    slow[side] = first
                    del timed[side]
            took |= in_turn(timed, machine.device, each / 2) | slow
            yield f"{model} | {task} | {cells(took)} | {peak(timed['captured'], machine.device) / 1e6:.0f}"


def cells(took: dict[str, float]) -> str:
    best = min((took[side] for side in took if side not in ("eager", "captured")), default=float("nan"))
    ours = [f"{took[side]:.2f}" for side in ("eager", "captured")]
    theirs = [f"{took[side]:.2f}" if side in took else "–" for side in ("zuko", "nflows")]
    return " | ".join([*ours, *theirs, f"{best / took['captured']:.1f}"])


COLUMNS = (
    "flow, 64 features | task | eager, ms | captured, ms | zuko, ms | nflows, ms | best peer / captured | peak, MB"
)
PARTS = {
    "vectors": Part("Vectors, 256 rows", COLUMNS, 50, partial(rows, batch=256)),
    "many_vectors": Part("Vectors, 65,536 rows", COLUMNS, 60, partial(rows, batch=65_536)),
}

"""Trainings whose weights are sharded, where there are several processes: `python -m tests.sharded FOLDER CASE ...`.

torchrun runs it as a program; the tests call `trained` in their one process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from pushforward.data import Arrays
from pushforward.flow import Flow
from pushforward.models import Glow, Model, TarFlow
from pushforward.moves import Shift
from pushforward.training import Checkpoints, History, Likelihood, Look, Plan, minimise, ranks

TARFLOW = TarFlow(image=(1, 8, 8), transforms=2, width=12, depth=2, classes=3)
PLAN = Plan(
    steps=5,
    batch=12,
    precision="float32",
    warmup=2,
    lr=1e-2,
    log_every=1,
    clip=None,
    checkpoint_every=3,
    parallel="sharded",
)


class Poisoned(Likelihood):
    """Its loss is NaN for batches that hold the first row."""

    def forward(self, data, context=None, generator=None, weights=None):
        loss, logs = super().forward(data, context, generator, weights)
        return torch.where((data == X[0].to(data)).flatten(1).all(1).any(), torch.nan, loss), logs


@dataclass(frozen=True)
class Case:
    model: Model = TARFLOW
    plan: dict[str, Any] = field(default_factory=dict)
    objective: Callable[..., Likelihood] = Likelihood
    dtype: torch.dtype = torch.float64
    tolerance: float = 1e-9


CASES = {
    "TarFlow": Case(),
    "hybrid": Case(plan={"parallel": "hybrid"}),
    "accumulated, recomputed": Case(plan={"accumulate": 2, "recomputed": True}),
    "early stopping": Case(plan={"measure_every": 1, "patience": 2, "lr": 0.05}),
    "skipped": Case(plan={"on_nonfinite": "skip"}, objective=Poisoned),
    "observed": Case(replace(TARFLOW, move=Shift())),
    "Glow": Case(Glow(image=(1, 8, 8), levels=2, transforms=1, width=8, classes=3)),
    "clipped": Case(plan={"clip": 0.1}, dtype=torch.float32, tolerance=1e-5),
    "compiled": Case(plan={"compiled": True, "recomputed": True}),
    "bfloat16": Case(plan={"precision": "bfloat16"}, dtype=torch.float32, tolerance=1e-3),
}
FIRST, RUN = "TarFlow", "run"
X = torch.randn(36, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(36) % 3


def trained(case: Case, run: Path | None = None) -> tuple[list[dict[str, float]], torch.Tensor]:
    """The log of a training, and the log-densities of its data afterwards."""
    torch.manual_seed(0)
    x, plan, log = X.to(case.dtype), replace(PLAN, **case.plan), History()

    def measure(flow: Flow) -> Look:
        with torch.no_grad():
            return Look("cost", -flow.log_prob(x[:4], LABELS[:4]).mean().item(), 0.0)

    flow = minimise(
        case.objective(case.model.build().to(case.dtype)),
        Arrays(x, LABELS),
        plan,
        checkpoints=None if run is None else Checkpoints(run),
        log=log,
        measure=measure if plan.measure_every else None,
        progress=False,
    )
    with torch.no_grad():
        return log.lines, flow.log_prob(x, LABELS)


def main(folder: Path, *names: str) -> None:
    """Train each case, and leave what `trained` returns in the folder. The first case is a run, and is continued."""
    torch.set_num_threads(1)
    if os.environ["WORLD_SIZE"] == "4":
        os.environ["LOCAL_WORLD_SIZE"] = "2"  # as on two nodes
    with ranks.joined(torch.device("cpu")):
        for name in names:
            found = trained(CASES[name], folder / RUN if name == FIRST else None)
            if ranks.rank() == 0:
                torch.save(found, folder / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

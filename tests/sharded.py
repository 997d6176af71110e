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

from pushforward.codecs import Identity
from pushforward.data import Arrays, Data, Document, Documents
from pushforward.document_flow import DocumentFlow
from pushforward.flow import Flow
from pushforward.models import Glow, Model, TarFlow
from pushforward.moves import Shift
from pushforward.objectives import DocumentStages
from pushforward.training import Checkpoints, History, Likelihood, Look, Objective, Plan, minimise, ranks
from tests.test_models import FIRST as MODELS

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


def images(_: Model, dtype: torch.dtype) -> Data:
    return Arrays(X.to(dtype), LABELS)


def unlabelled(model: Model, dtype: torch.dtype) -> Data:
    """Events of the model's shape."""
    event = [axis or 2 for axis in model.build().event]
    return Arrays(torch.randn(36, *event, generator=torch.Generator().manual_seed(0), dtype=dtype))


def documents(model: Model, dtype: torch.dtype) -> Data:
    """A text and an image, in either order."""
    pictures = unlabelled(model, dtype).fetch(range(36))[0]
    return Documents([Document([[i % 5, 3, 4], x] if i % 2 else [x, [i % 7, 2]]) for i, x in enumerate(pictures)])


def of_documents(flow: Flow) -> Objective:
    return DocumentStages(stages=("both",)).build(flow, Identity())


@dataclass(frozen=True)
class Case:
    model: Model = TARFLOW
    plan: dict[str, Any] = field(default_factory=dict)
    objective: Callable[..., Objective] = Likelihood
    data: Callable[[Model, torch.dtype], Data] = images
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
    "text": Case(MODELS["TarFlowLM"], data=unlabelled),
    "video": Case(MODELS["STARFlowV"], data=unlabelled),
    "documents": Case(MODELS["STARFlow2"], objective=of_documents, data=documents),
    "documents, two layers": Case(replace(MODELS["STARFlow2"], depths=(1, 2)), objective=of_documents, data=documents),
    "hybrid documents": Case(MODELS["STARFlow2"], plan={"parallel": "hybrid"}, objective=of_documents, data=documents),
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
    data, plan, log = case.data(case.model, case.dtype), replace(PLAN, **case.plan), History()

    def measure(flow: Flow) -> Look:
        return Look("cost", -scores(flow, data)[:4].mean().item(), 0.0)

    flow = minimise(
        case.objective(case.model.build().to(case.dtype)),
        data,
        plan,
        checkpoints=None if run is None else Checkpoints(run),
        log=log,
        measure=measure if plan.measure_every else None,
        progress=False,
    )
    return log.lines, scores(flow, data)


@torch.no_grad()
def scores(flow: Flow, data: Data) -> torch.Tensor:
    """The log-density of each row; of a document those of its images and of its texts."""
    if isinstance(flow, DocumentFlow) and isinstance(data, Documents):
        return torch.cat(flow.document_log_prob(data))
    return flow.log_prob(*data.fetch(range(len(data))))


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

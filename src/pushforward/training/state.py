"""The state of a training between steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.flow import Flow
from pushforward.objectives import Objective
from pushforward.training.average import Average
from pushforward.training.early_stopping import EarlyStopping
from pushforward.training.plan import Plan
from pushforward.training.sharding import mesh_of, shard, whole


class State:
    """The weights, AdamW's moments, the averaged weights, the best of these, and the number of steps.

    Only the flow's weights are averaged. A codec that learns keeps its own, those of the last step or of the best
    evaluation: each evaluation measures the averaged flow with the codec as it is then. Of weights that both share the
    flow has the average.

    `tensors()` is all of it, by name: a checkpoint saves it, and loads it in place. It has no learning rate and no
    random state: both are functions of the plan and the step. Where the plan shards weights, the objective is sharded
    here, in place, and all that is stored of weights is this process's share.
    """

    def __init__(self, objective: Objective, plan: Plan):
        self.objective, mesh = objective, mesh_of(plan, objective.flow.device)
        self.sharded = mesh is not None
        self.average = Average(objective.flow, plan.average_decay, mesh)
        codec = getattr(objective, "codec", None)
        self._codec = codec if isinstance(codec, nn.Module) else None
        learns = self._codec and any(p.requires_grad for p in self._codec.parameters())
        kept = self._codec if learns else None
        self.early_stopping = EarlyStopping(objective.flow, plan.patience, mesh, kept) if plan.patience else None
        if mesh is not None:
            shard(objective, mesh)
        self.optimiser = torch.optim.AdamW(
            objective.parameters(),
            lr=torch.tensor(plan.lr, device=objective.flow.device),
            betas=plan.betas,
            weight_decay=plan.weight_decay,
            fused=True,
            capturable=plan.captured and objective.flow.device.type == "cuda",
        )
        self.optimiser._warned_capturable_if_run_uncaptured = True  # no warning for steps before one is recorded
        # as AdamW does in its first step, but now, so that a checkpoint can be loaded into these tensors
        for p in objective.parameters():
            moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            self.optimiser.state[p] = {"step": torch.zeros((), device=p.device), **moments}
        self.skips = plan.on_nonfinite == "skip" or plan.skip_above is not None
        self.skipped = torch.zeros(2, device=objective.flow.device)  # steps in a row, until now, and in all
        self._step = torch.zeros((), dtype=torch.int64, device="cpu")
        self._seconds = torch.zeros((), dtype=torch.float64, device="cpu")

    @property
    def flow(self) -> Flow:
        """The result, of all weights. Where these are sharded it is made anew, and every process takes part."""
        return whole(self.result)

    @property
    def result(self) -> Flow:
        """The best averaged weights that were evaluated, or the averaged weights so far; sharded as the plan says."""
        stopping = self.early_stopping
        return stopping.flow if stopping and stopping.best_look else self.average.module  # pyright: ignore[reportReturnType]

    @property
    def codec(self) -> nn.Module | None:
        """The codec of the result: that of the best evaluation, or as it is now. None: it has no weights."""
        stopping = self.early_stopping
        return stopping.codec if stopping and stopping.codec and stopping.best_look else self._codec

    @property
    def enough(self) -> bool:
        """Whether early stopping ends the training."""
        return self.early_stopping is not None and self.early_stopping.enough

    @property
    def step(self) -> int:
        """The number of steps made."""
        return int(self._step)

    @property
    def seconds(self) -> float:
        """The duration of these steps, and of waiting for their rows, without evaluations and checkpoints."""
        return float(self._seconds)

    def advance(self, seconds: float) -> None:
        self._step += 1
        self._seconds += seconds

    def tensors(self) -> dict[str, Tensor]:
        moments = {
            f"optimiser.{name}.{moment}": tensor
            for name, p in self.objective.named_parameters()
            for moment, tensor in self.optimiser.state[p].items()
        }
        average = {f"average.{name}": tensor for name, tensor in self.average.module.state_dict().items()}
        best = {} if self.early_stopping is None else self.early_stopping.tensors()
        best = {f"best.{name}": tensor for name, tensor in best.items()}
        return {
            "step": self._step,
            "seconds": self._seconds,
            **self.objective.state_dict(),
            **average,
            **best,
            **moments,
            **({"skipped": self.skipped} if self.skips else {}),
        }

"""The state of a training between steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pushforward.flow import Flow
from pushforward.objectives import Objective
from pushforward.training.average import Average
from pushforward.training.early_stopping import EarlyStopping
from pushforward.training.plan import Plan
from pushforward.training.sharding import mesh_of, shard, whole

OF_CODEC = "codec_average."  # what the names of these tensors begin with


class State:
    """The weights, AdamW's moments, the averaged weights, the best of these, and the number of steps.

    A codec that learns is averaged with the flow, and so are weights that both share: each evaluation measures the
    averaged flow with the averaged codec, and the result is a pair of these.

    `tensors()` is all of it, by name: a checkpoint saves it, and loads it in place. It has no learning rate and no
    random state: both are functions of the plan and the step. Where the plan shards weights, the objective is sharded
    here, in place, and all that is stored of weights is this process's share.
    """

    def __init__(self, objective: Objective, plan: Plan):
        self.objective, mesh = objective, mesh_of(plan, objective.flow.device)
        self.sharded = mesh is not None
        self._codec = objective.codec if isinstance(objective.codec, nn.Module) else None
        learns = self._codec if self._codec and any(p.requires_grad for p in self._codec.parameters()) else None
        averaged = nn.ModuleDict({"flow": objective.flow})
        if learns is not None:
            averaged["codec"] = learns
        self.average = Average(averaged, plan.average_decay, mesh)
        self.early_stopping = EarlyStopping(objective.flow, plan.patience, mesh, learns) if plan.patience else None
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
        return stopping.flow if stopping and stopping.best_look else self.averaged_flow  # pyright: ignore[reportReturnType]

    @property
    def averaged_flow(self) -> Flow:
        """The averaged weights so far; sharded as the plan says."""
        return self.average.module.flow  # pyright: ignore[reportReturnType]

    @property
    def averaged_codec(self) -> nn.Module | None:
        """The codec of the averaged flow. None: it does not learn."""
        return getattr(self.average.module, "codec", None)

    @property
    def codec(self) -> nn.Module | None:
        """The codec of the result: that of the best evaluation, or the average so far. None: it has no weights."""
        stopping = self.early_stopping
        best = stopping.codec if stopping and stopping.best_look else None
        return best or self.averaged_codec or self._codec

    @contextmanager
    def averaging_codec(self) -> Iterator[None]:
        """A block in which the objective's codec has its averaged weights, where it learns."""
        if self._codec is None or self.averaged_codec is None:
            yield
            return
        before = {name: tensor.clone() for name, tensor in self._codec.state_dict().items()}
        self._codec.load_state_dict(self.averaged_codec.state_dict())
        try:
            yield
        finally:
            self._codec.load_state_dict(before)

    def keep_codec(self) -> None:
        """Give the objective's codec the weights of the result, where it learns."""
        if self._codec is not None and self.codec is not None:
            self._codec.load_state_dict(self.codec.state_dict())

    def restart_codec_average(self) -> None:
        """Let the average of the codec begin at its weights, as where a checkpoint has none."""
        if self._codec is not None and self.averaged_codec is not None:
            self.averaged_codec.load_state_dict(self._codec.state_dict())

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
        average = {f"average.{name}": tensor for name, tensor in self.averaged_flow.state_dict().items()}
        if self.averaged_codec is not None:
            average |= {f"{OF_CODEC}{name}": tensor for name, tensor in self.averaged_codec.state_dict().items()}
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

"""All that a training carries from one step to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.training.average import Average
from pushforward.training.objective import Objective
from pushforward.training.plan import Plan


class State:
    """The weights, AdamW's moments, the weights' average, and how far the training has come.

    `tensors()` are all of it, by name: a checkpoint writes them, and reads them back in place. A learning rate is not
    among them, nor a random number: the plan gives both, from the step.
    """

    def __init__(self, objective: Objective, plan: Plan):
        self.objective = objective
        self.average = Average(objective.flow, plan.average_decay)
        self.optimiser = torch.optim.AdamW(
            objective.parameters(), lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay, fused=True
        )
        # as AdamW itself begins, but before its first step: then there is room to read a checkpoint into
        for p in objective.parameters():
            moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            self.optimiser.state[p] = {"step": torch.zeros((), device=p.device), **moments}
        self._step = torch.zeros((), dtype=torch.int64)
        self._seconds = torch.zeros((), dtype=torch.float64)

    @property
    def step(self) -> int:
        """How many steps were made."""
        return int(self._step)

    @property
    def seconds(self) -> float:
        """How long they took."""
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
        return {"step": self._step, "seconds": self._seconds, **self.objective.state_dict(), **average, **moments}

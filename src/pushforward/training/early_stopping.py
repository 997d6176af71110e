"""Early stopping: when to stop, and which weights to keep, by the cost of held-out events."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.flow import Flow
from pushforward.training.sharding import Mesh, copied


class Look(NamedTuple):
    """An evaluation of a flow on held-out events. The lower the cost, the better."""

    name: str  # in the log: "held-out bits/dim"
    cost: float
    standard_error: float  # of that mean over events


class EarlyStopping:
    """Keeps the weights of the best evaluation; `enough` is True after `patience` evaluations without improvement.

    Its state is `tensors()`, which a checkpoint saves, and loads in place. Where there is a mesh, it keeps this
    process's share of the weights.
    """

    def __init__(self, flow: Flow, patience: int, mesh: Mesh | None = None):
        self.patience = patience
        self.flow = copied(flow, mesh).eval()  # with the best weights
        self._looks, self._best_look = torch.zeros(2, dtype=torch.int64, device="cpu").unbind()
        self._best = torch.tensor([torch.inf, torch.inf], dtype=torch.float64, device="cpu")  # cost, standard error

    @property
    def looks(self) -> int:
        return int(self._looks)

    @property
    def best_look(self) -> int:
        """The evaluation whose weights are kept, from 1 on; 0 where no cost was finite."""
        return int(self._best_look)

    @property
    def best(self) -> tuple[float, float]:
        """The best cost, and its standard error."""
        cost, standard_error = self._best.tolist()
        return cost, standard_error

    @property
    def enough(self) -> bool:
        return self.looks - self.best_look >= self.patience

    @torch.no_grad()
    def add(self, flow: Flow, cost: float, standard_error: float) -> None:
        """Count an evaluation of this flow, and keep its weights if it is the best so far."""
        self._looks += 1
        if cost < self.best[0]:
            self._best_look.copy_(self._looks)
            self._best.copy_(torch.tensor([cost, standard_error], dtype=torch.float64, device="cpu"))
            self.flow.load_state_dict(flow.state_dict())

    def tensors(self) -> dict[str, Tensor]:
        weights = {f"weights.{name}": tensor for name, tensor in self.flow.state_dict().items()}
        return {"looks": self._looks, "best_look": self._best_look, "best": self._best, **weights}

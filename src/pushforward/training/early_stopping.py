"""Early stopping: when to stop, and which weights to keep, by the cost of held-out events."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pushforward.flow import Flow
from pushforward.training.sharding import Mesh, copied


class Look(NamedTuple):
    """An evaluation of a flow on held-out events. The lower the cost, the better."""

    name: str  # in the log: "held-out bits/dim"
    cost: float
    standard_error: float  # of that mean over events


class EarlyStopping:
    """Keeps the weights of the best evaluation; `enough` is True after `patience` evaluations without improvement.

    Training by likelihood may start at better weights than any that it finds: these are kept then. The start is not
    counted as an evaluation, so patience begins with the first. A codec that learns with the flow is kept with it. The
    state is `tensors()`, which a checkpoint saves, and loads in place. Where there is a mesh, it keeps this process's
    share of the weights.
    """

    def __init__(self, flow: Flow, patience: int, mesh: Mesh | None = None, codec: nn.Module | None = None):
        self.patience = patience
        self.flow = copied(flow, mesh).eval()  # with the best weights
        self.codec = None if codec is None else copied(codec, mesh)  # with those of the same evaluation
        self._looks, self._best_look = torch.zeros(2, dtype=torch.int64, device="cpu").unbind()
        # cost and standard error, of the best evaluation and of the start
        self._best, self._start = torch.full((2, 2), torch.inf, dtype=torch.float64, device="cpu").unbind()

    @property
    def looks(self) -> int:
        return int(self._looks)

    @property
    def best_look(self) -> int:
        """The best evaluation, from 1 on; 0 where no cost was finite."""
        return int(self._best_look)

    @property
    def kept_look(self) -> int:
        """The evaluation whose weights are kept; 0 where they are those of the start."""
        return self.best_look if self._best[0] < self._start[0] else 0

    @property
    def best(self) -> tuple[float, float]:
        """The cost of the weights that are kept, and its standard error."""
        cost, standard_error = min(self._best.tolist(), self._start.tolist())
        return cost, standard_error

    @property
    def enough(self) -> bool:
        return self.looks - self.best_look >= self.patience

    def start(self, cost: float, standard_error: float) -> None:
        """Note the cost of the weights that training starts from, which are those of the flow."""
        if math.isfinite(cost):
            self._start.copy_(torch.tensor([cost, standard_error], dtype=torch.float64, device="cpu"))

    @torch.no_grad()
    def add(self, flow: Flow, codec: nn.Module | None, cost: float, standard_error: float) -> None:
        """Count an evaluation of this flow with this codec, and keep their weights if it is the best so far.
        A cost that is not finite never is.
        """
        self._looks += 1
        if not math.isfinite(cost):
            return
        if cost < self.best[0]:
            self.flow.load_state_dict(flow.state_dict())
            if self.codec and codec:
                self.codec.load_state_dict(codec.state_dict())
        if cost < self._best[0]:
            self._best_look.copy_(self._looks)
            self._best.copy_(torch.tensor([cost, standard_error], dtype=torch.float64, device="cpu"))

    def tensors(self) -> dict[str, Tensor]:
        weights = {f"weights.{name}": tensor for name, tensor in self.flow.state_dict().items()}
        if self.codec:
            weights |= {f"codec.{name}": tensor for name, tensor in self.codec.state_dict().items()}
        return {"looks": self._looks, "best_look": self._best_look, "best": self._best, "start": self._start, **weights}

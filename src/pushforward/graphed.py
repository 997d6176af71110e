"""Flows whose calls are recorded as CUDA graphs, by shape, and replayed."""

from __future__ import annotations

import copy
import weakref
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.utils import _pytree as pytree

from pushforward.capture import Captured
from pushforward.conditions import Context
from pushforward.flow import Flow
from pushforward.shapes import Events, PerSample
from pushforward.transform import Base, Transform


def graphed(flow: Flow) -> Flow:
    """The flow, of the same weights, with `log_prob`, `encode`, `decode` and `sample` that are replayed on a GPU.

    Of each shape the first call runs as always, the second is recorded as a CUDA graph, and later ones are replayed:
    the same arithmetic, without the time that Python takes to launch it. It pays where calls of the same shapes are
    small and many. The graph of a sample has every token's operations: memory and the time to record grow with them.

    Where gradients are needed, on other devices, and where a transform cannot be recorded, calls run as always, and
    `graphed(flow).transform.why` says why. Weights may be trained further, in place. After anything else was changed
    in the flow, a hook or a layer, graph it again.

    >>> from pushforward.models import RealNVP
    >>> flow = RealNVP(features=2).build()
    >>> fast = graphed(flow)
    >>> with torch.no_grad():
    ...     torch.equal(fast.log_prob(torch.zeros(3, 2)), flow.log_prob(torch.zeros(3, 2)))
    True
    >>> fast.transform.why
    'functions are captured on cuda; this one runs on cpu'
    """
    twin = copy.copy(flow)
    twin._modules = {**flow._modules, "transform": Graphed(flow.transform)}
    return twin


class Graphed(Transform):
    """A transform whose doors are recorded by shape and replayed. `why` says why the last call was not; else None."""

    def __init__(self, transform: Transform):
        super().__init__()
        self.transform = transform
        self.why: str | None = "it was not called yet"
        self._doors: WeakKeyDictionary[Transform, _Doors] = WeakKeyDictionary()

    @property
    def causal(self) -> bool:
        return self.transform.causal

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return self.transform.latent_shape(event)

    def support(self, event: tuple[int, ...]) -> Constraint | None:
        return self.transform.support(event)

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._replayed("__call__", x, context)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._replayed("inverse", z, context)

    def log_prob(self, x: Events, base: Base, context: Context | None = None) -> PerSample:
        return self._replayed("log_prob", x, base, context)

    def _replayed(self, door: str, given: Tensor, *others: Any) -> Any:
        """A graph has the addresses of weights, so they are part of its key. Its results are copied: the next replay
        overwrites them."""
        doors = self._doors.get(self.transform)
        if doors is None or doors.device != given.device:  # guidance and solvers put another transform in a twin
            doors = self._doors[self.transform] = _Doors(self.transform, given.device)
        captured = doors.captured[door]
        results = captured(given, *others, hash(tuple(t.data_ptr() for t in doors.weights)))
        self.why = captured.why
        return results if self.why else pytree.tree_map(torch.clone, results)


class _Doors:
    """The doors of a transform, captured, and its weights."""

    def __init__(self, transform: Transform, device: torch.device):
        self.device, self.weights = device, [*transform.parameters(), *transform.buffers()]
        there: Any = weakref.ref(transform)

        def called(door: str, *arguments: Any) -> Any:
            return getattr(there(), door)(*arguments[:-1])  # the last are the addresses of weights

        self.captured = {door: Captured(partial(called, door), device) for door in ("__call__", "inverse", "log_prob")}

"""Flows whose calls are recorded as CUDA graphs, by shape, and replayed."""

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
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
    `graphed(flow).transform.why` says why. Weights may be trained further, cast, moved or replaced by others. After
    anything else was changed in the flow, a hook or a layer, graph it again.

    >>> from pushforward.models import RealNVP
    >>> flow = RealNVP(features=2).build()
    >>> fast = graphed(flow)
    >>> with torch.no_grad():
    ...     torch.equal(fast.log_prob(torch.zeros(3, 2)), flow.log_prob(torch.zeros(3, 2)))
    True
    >>> fast.transform.why
    'functions are captured on cuda; this one runs on cpu'
    """
    return flow.with_transform(Graphed(flow.transform))


class Graphed(Transform):
    """A transform whose doors are recorded by shape and replayed. `why` says why the last call was not; else None."""

    def __init__(self, transform: Transform):
        super().__init__()
        self.transform = transform
        self.why: str | None = "it was not called yet"
        self._doors: WeakKeyDictionary[Transform, _Doors] = WeakKeyDictionary()
        self._weights: WeakKeyDictionary[nn.Module, list[dict[str, Any]]] = WeakKeyDictionary()

    @property
    def causal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
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
        """A graph has the addresses of weights, of a base that is among `others` too, so they are part of its key. Its
        results are copied: the next replay overwrites them."""
        doors = self._doors.get(self.transform)
        if doors is None or doors.device != given.device:  # guidance and solvers put another transform in a twin
            doors = self._doors[self.transform] = _Doors(self.transform, given.device)
        captured = doors.captured[door]
        parts = (self.transform, *(other for other in others if isinstance(other, nn.Module)))
        results = captured(given, *others, hash(tuple(address for part in parts for address in self._addresses(part))))
        self.why = captured.why
        return results if self.why else pytree.tree_map(torch.clone, results)

    def _addresses(self, module: nn.Module) -> Iterator[int]:
        """Those of the weights that the module has now. To walk all of its parts at every call would be slow."""
        if (places := self._weights.get(module)) is None:
            owned = (own for part in module.modules() for own in (part._parameters, part._buffers))
            places = self._weights[module] = [own for own in owned if own]
        return (weight.data_ptr() for own in places for weight in own.values() if weight is not None)


class _Doors:
    """The doors of a transform, captured."""

    def __init__(self, transform: Transform, device: torch.device):
        self.device = device
        there: Any = weakref.ref(transform)

        def called(door: str, *arguments: Any) -> Any:
            return getattr(there(), door)(*arguments[:-1])  # the last are the addresses of weights

        self.captured = {door: Captured(partial(called, door), device) for door in ("__call__", "inverse", "log_prob")}

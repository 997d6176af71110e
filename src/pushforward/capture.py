"""Captured functions: recorded once for each shape as a CUDA graph, and replayed.

A small kernel takes a GPU about two microseconds, and Python about ten to launch. A graph launches all kernels of a
step at once, with the same arithmetic in the same order: the results have the same bits.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pushforward.recording import recorded

Call = Callable[[], Any]
MOST = 64  # records of one function: each has memory of its own for arguments and results
_inside: ContextVar[bool] = ContextVar("inside a captured function", default=False)


def hindrance(device: torch.device) -> str | None:
    """Why nothing is captured on this device, now; None where functions are."""
    if device.type not in RECORDERS:
        return f"functions are captured on {' and '.join(RECORDERS)}; this one runs on {device.type}"
    if _inside.get() or (device.type == "cuda" and torch.cuda.is_current_stream_capturing()):
        return "it is part of a function that is captured"
    return "a compiler or a mode records its operations" if recorded(device.type) else None


class Captured:
    """`function`, recorded as a CUDA graph and replayed; on other devices, and where it cannot be recorded, called.

    For each set of shapes the first `warmups` ≥ 1 calls run the function; the next records it and replays the record,
    as do all later ones. Arguments are tensors, hashable values, and tuples, lists and dicts of these. Tensors are
    copied into memory of the record, without their gradients' history; other values belong to its key, as do shapes and
    the modes of gradients and autocast. A `large` function, such as a training step, has the memory that is free in
    torch's cache given back before it is recorded.

    What the function must keep to:

    - Its shapes, and what it launches, follow from the key alone. It never waits for the device (`.item()`, a boolean
      index, a copy to the host).
    - What changes from call to call is an argument, or a tensor that is changed in place and keeps its memory: weights,
      a cache, a position, a learning rate. Python values that it closes over are those of the recording.
    - It takes gradients itself, by `backward` or `torch.autograd.grad`: nothing can be differentiated through a replay.
    - A replay runs no Python.

    Results are tensors, or nested tuples, lists and dicts of them, in memory that all records share: the next call, of
    any key, overwrites them, so clone what must live longer. `why` says why the last call ran the function, and is None
    where a record was replayed. A function that could not be recorded is not tried again for this key, and `refused`
    says so. The 64 keys that were used last have records.

    >>> double = Captured(lambda x: 2 * x, torch.device("cpu"))
    >>> double(torch.ones(2)), double.why
    (tensor([2., 2.]), 'functions are captured on cuda; this one runs on cpu')
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, *, warmups: int = 1, large: bool = False):
        assert warmups >= 1, "kernels are loaded, and results looked at, in a call that is not recorded"
        self.function, self.device, self.warmups = function, device, warmups
        self.why: str | None = None
        self.refused: str | None = None
        self._records: dict[Hashable, _Record] = {}
        self._recorder = RECORDERS[device.type](device, large) if device.type in RECORDERS else None

    def __call__(self, *arguments: Any) -> Any:
        self.why, self.refused = hindrance(self.device), None
        if self.why is not None or self._recorder is None:
            return self.function(*arguments)
        leaves, tree = pytree.tree_flatten(arguments)
        record = self._record_of(_key(leaves, tree))
        record.calls += 1
        if record.replay is not None:
            return record.replayed(leaves)
        if record.refused is None and record.calls > self.warmups:
            self._prepare(record, self._recorder, leaves, tree)
            if record.replay is not None:
                return record.replayed(leaves)
        if record.refused is not None:
            self.why = self.refused = record.refused
            return self.function(*arguments)
        self.why = f"the first calls of a shape, {self.warmups}, are not recorded"
        with _captured():
            results = self._recorder.run(lambda: self.function(*arguments))
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in pytree.tree_leaves(results)):
            record.refused = "its results require gradients, and nothing is differentiated through a replay"
        return results

    def _record_of(self, key: Hashable) -> _Record:
        """The record of a key, which is now the last that was used."""
        record = self._records[key] = self._records.pop(key, None) or _Record()
        if len(self._records) > MOST:
            del self._records[next(iter(self._records))]
        return record

    def _prepare(self, record: _Record, recorder: Recorder, leaves: list[Any], tree: Any) -> None:
        """Record the function for memory of these shapes."""
        static = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        try:
            with _captured():
                made = recorder.record(lambda: self.function(*pytree.tree_unflatten(static, tree)))
        except RuntimeError as error:
            record.refused = f"it could not be recorded: {str(error).splitlines()[0]}"
            return
        record.replay, record.results = made
        record.inputs = [leaf for leaf in static if isinstance(leaf, Tensor)]


@dataclass
class _Record:
    """A recorded function: its memory for arguments, how it is replayed, and its results."""

    calls: int = 0
    refused: str | None = None
    inputs: list[Tensor] | None = None
    replay: Call | None = None
    results: Any = None

    def replayed(self, leaves: list[Any]) -> Any:
        assert self.replay is not None
        if self.inputs:
            given = [leaf.detach() for leaf in leaves if isinstance(leaf, Tensor)]
            torch._foreach_copy_(self.inputs, given)  # pyright: ignore[reportPrivateImportUsage]
        self.replay()
        return self.results


@contextmanager
def _captured() -> Iterator[None]:
    """What is called here is part of a captured function, while it is recorded and in the calls before.

    Weights that autocast has cast are kept neither from before nor for later: their memory would not outlast a record.
    """
    token = _inside.set(True)
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        _inside.reset(token)


def _key(leaves: list[Any], tree: Any) -> Hashable:
    modes = (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        *(torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) for kind in RECORDERS),
    )
    kinds = ((leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    return (*modes, tree, *kinds)


class Recorder(ABC):
    """How the operations of a call are recorded on a device."""

    @abstractmethod
    def run(self, call: Call) -> Any:
        """call(), where it would be recorded."""

    @abstractmethod
    def record(self, call: Call) -> tuple[Call, Any]:
        """A function that does the operations of `call` again, and the results that it will write. Nothing is computed
        yet. Raises RuntimeError where an operation cannot be recorded."""


class Graphs(Recorder):
    """Records CUDA graphs on a stream of its own; all of them share one pool of memory."""

    def __init__(self, device: torch.device, large: bool):
        self.device, self.large = device, large
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def run(self, call: Call) -> Any:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):  # that of the recording: autograd keeps to the stream that it first sees
            results = call()
        current.wait_stream(self.stream)
        return results

    def record(self, call: Call) -> tuple[Call, Any]:
        if self.large:
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()  # what calls before the recording took is for the graph's own pool
        graph = torch.cuda.CUDAGraph()
        results = self.run(lambda: self._captured(graph, call))
        return graph.replay, results

    def _captured(self, graph: torch.cuda.CUDAGraph, call: Call) -> Any:
        collects = gc.isenabled()
        gc.disable()  # what the collector frees may end the capture
        try:
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")  # other threads go on
            results = call()
            graph.capture_end()
        except BaseException:
            self._abandon(graph)
            raise
        finally:
            if collects:
                gc.enable()
        return results

    def _abandon(self, graph: torch.cuda.CUDAGraph) -> None:
        """End a capture in which something failed. The stream, the allocator and the generator go on as before: what a
        failed end leaves undone, the end of another capture does."""
        with suppress(RuntimeError):  # the capture is invalid
            graph.capture_end()
        ends = getattr(torch._C, "_cuda_endAllocateToPool", None)  # where capture_end raises before it does this
        if ends is not None:
            with suppress(RuntimeError):  # it was done
                ends(self.stream.device_index, self.pool)
        self.pool, other = torch.cuda.graph_pool_handle(), torch.cuda.CUDAGraph()
        with suppress(RuntimeError):
            other.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            torch.zeros(1, device=self.device)
            other.capture_end()


RECORDERS: dict[str, Callable[[torch.device, bool], Recorder]] = {"cuda": Graphs}

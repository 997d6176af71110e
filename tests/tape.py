"""A recorder for CPUs that stands for CUDA graphs, and a mode that forbids what would wait for a device.

Like a graph a tape has operations on memory: to play it again runs no Python and writes results where the first ones
were.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from pushforward.capture import Call, Recorder

aten = torch.ops.aten
WAITS = {  # their results, or the shapes of these, are values of tensors
    aten.lift_fresh,  # a tensor made of Python's numbers, which is copied from the host
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten._unique2,
    aten.unique_dim,
    aten.bincount,
}
INDEXED = {aten.index, aten.index_put, aten.index_put_}


def waits(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation waits for the device, copies to it, or has a shape that depends on values."""
    if func.overloadpacket in WAITS:
        return True
    return func.overloadpacket in INDEXED and any(
        t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
    )


class NoWaits(TorchDispatchMode):
    """Operations that would wait for a device raise RuntimeError."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if waits(func, args):
            raise RuntimeError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


class Tape(NoWaits):
    """Its operations, and what was in the memory that they changed."""

    def __init__(self):
        super().__init__()
        self.played: list[tuple[Any, Any, Any, Any]] = []
        self.own: dict[int, Any] = {}  # storages made by its operations
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        changed = [
            value
            for value, argument in zip(args, func._schema.arguments, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        for tensor in pytree.tree_leaves(changed):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.own and storage.data_ptr() not in self.before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(storage)
                self.before[storage.data_ptr()] = whole, whole.clone()
        results = super().__torch_dispatch__(func, types, args, kwargs)
        alias = [result.alias_info for result in func._schema.returns]
        if not any(each is not None and not each.is_write for each in alias):  # views follow their memory
            fresh = [] if changed else [t for t in pytree.tree_leaves(results) if isinstance(t, Tensor)]
            self.own.update((t.untyped_storage().data_ptr(), t) for t in fresh)
            self.played.append((func, args, kwargs, fresh))
        return results

    def undo(self) -> None:
        for whole, values in self.before.values():
            whole.copy_(values)

    @torch.no_grad()
    def play(self) -> None:
        for func, args, kwargs, results in self.played:
            again = [t for t in pytree.tree_leaves(func(*args, **kwargs)) if isinstance(t, Tensor)]
            for result, new in zip(results, again, strict=bool(results)):
                result.detach().copy_(new)


class Tapes(Recorder):
    """Records on tapes."""

    def __init__(self, device: torch.device, large: bool):
        assert device.type == "cpu"

    def run(self, call: Call) -> Any:
        return call()

    def record(self, call: Call) -> tuple[Call, Any]:
        tape = Tape()
        try:
            with tape:
                results = call()
        finally:
            with torch.no_grad():
                tape.undo()
        return tape.play, results

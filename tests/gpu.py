"""A GPU that is not there: its tensors say that they are on it, and are computed on the CPU.

As on a GPU an operation takes tensors of one device, and a tensor for which no device is named is made on the CPU. So a
function that mixes devices fails here. Where it waits for the GPU, the line of the package is counted.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.variables import builder  # noqa: F401 - its import fails where functions of torch are replaced
from torch.utils._python_dispatch import TorchDispatchMode

import pushforward
from pushforward import capture
from pushforward.capture import Call, Recorder
from tests.tape import waits

aten = torch.ops.aten
GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
HOME = str(Path(pushforward.__file__).parent)
MIXED = {aten.copy_, aten.fill_, aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
NOTHING = [  # functions of torch.cuda that do nothing here
    *("_lazy_init", "set_device", "current_stream", "synchronize", "set_sync_debug_mode"),
    *("empty_cache", "reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"),
]


class OnGPU(Tensor):
    """A tensor of the GPU. `host` has its values; to torch's own code it is a tensor of the CPU."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor):
        made = Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype, device=CPU
        )
        made.host = host
        return made

    def __repr__(self, **_):
        return f"OnGPU({self.host})"

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_):
        self.numpy()

    def __deepcopy__(self, memo):
        copied = OnGPU(self.host.detach().clone()).requires_grad_(self.requires_grad)
        copied._is_param = getattr(self, "_is_param", False)
        return memo.setdefault(id(self), copied)

    def data_ptr(self):
        return self.host.data_ptr()

    def tolist(self):
        return self.cpu().tolist()

    def __tensor_flatten__(self):
        """With these two, modules that are moved swap their weights, which stay the same objects."""
        return ["host"], None

    @staticmethod
    def __tensor_unflatten__(inner, meta, size, stride):
        return OnGPU(inner["host"])

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """In threads that are started in the block."""
        with Pretence():
            return func(*args, **(kwargs or {}))


class Pretence(TorchDispatchMode):
    """Runs the operations of the GPU, and counts those for which the package waits, by its file and line."""

    def __init__(self):
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.last = False  # whether the last operation was one of the GPU

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = list(_tensors((args, tuple(kwargs.values()))))
        there = any(type(t) is OnGPU for t in tensors)
        device = kwargs.get("device")
        goes = there if device is None else torch.device(device).type == "cuda"
        if "layout" in kwargs and "pin_memory" not in kwargs:  # torch's own code makes one for tensors that it has
            goes = there if tensors else self.last
        self.last = there if tensors else self.last
        if there or goes:
            self._check(func, args, kwargs, there, goes, tensors)
        func = aten.zeros.default if func.overloadpacket is aten._efficientzerotensor else func  # has no memory
        given, named = (
            _changed(args, OnGPU, _host),
            {name: _changed(each, OnGPU, _host) for name, each in kwargs.items()},
        )
        named |= {"device": CPU} if goes and device else {}
        named |= {"pin_memory": False} if "pin_memory" in named else {}
        results, returned = func(*given, **named), func._schema.returns
        if returned and returned[0].alias_info and returned[0].alias_info.is_write:
            return args[0]
        return _changed(results, Tensor, OnGPU) if goes else results

    def places(self) -> set[str]:
        """The files that waited."""
        return {place.split(":")[0] for place in self.waits}

    def _check(self, func, args, kwargs, there: bool, goes: bool, tensors: list[Tensor]) -> None:
        packet = func.overloadpacket
        host = any(type(t) is not OnGPU and t.dim() for t in tensors)
        copies = (packet is aten._to_copy and there is not goes) or (packet in MIXED and host)
        without = kwargs.get("non_blocking") or (packet is aten.copy_ and len(args) > 2 and args[2])
        if ((there and waits(func, args)) or (copies and not without)) and (place := _place()):
            self.waits[f"{place} {packet}"] += 1
        apart = [t for t in tensors if type(t) is not OnGPU and (t.dim() or torch.Tag.pointwise not in func.tags)]
        if there and apart and packet not in MIXED:
            raise RuntimeError(f"{func}: expected all tensors on one device; some are on cuda, and {apart[0]} is not")


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _changed(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, kind):
        return change(value)
    return type(value)([_changed(each, kind, change) for each in value]) if type(value) in (list, tuple) else value


def _host(t: OnGPU) -> Tensor:
    return t.host


def _place() -> str | None:
    """The line of the package that is run; None where it was not called."""
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(HOME):
        frame = frame.f_back
    return None if frame is None else f"{frame.f_code.co_filename.removeprefix(HOME)[1:]}:{frame.f_lineno}"


class Plain(Recorder):
    """Nothing is recorded: functions that would be are called."""

    def __init__(self, device: torch.device, large: bool):
        assert device.type == "cuda"

    def run(self, call: Call) -> Any:
        return call()

    def record(self, call: Call) -> tuple[Call, Any]:
        raise RuntimeError("there is no GPU")


class Event:
    """A moment, by the host's clock."""

    def __init__(self, **_: Any):
        self.moment = 0.0

    def record(self, *_: Any) -> None:
        self.moment = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: Event) -> float:
        return 1e3 * (other.moment - self.moment)


def _on_gpu(t: Tensor) -> bool:
    while torch._C._functorch.is_functorch_wrapped_tensor(t):
        t = torch._C._functorch.get_unwrapped(t)
    return isinstance(t, OnGPU)


def _moving(to: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Tensor.to, which knows where tensors say that they are."""

    def moved(self: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        device, dtype, without, layout = torch._C._nn._parse_to(*args, **kwargs)
        if device is None or device.type == self.device.type:
            return to(self, dtype=dtype or self.dtype, copy=copy, memory_format=layout or torch.preserve_format)
        device = GPU if device.type == "cuda" else device
        return aten._to_copy(self, device=device, dtype=dtype, non_blocking=without, memory_format=layout)

    return moved


@contextmanager
def pretended(monkeypatch) -> Iterator[Pretence]:
    """In this block there is a GPU, `GPU`, where nothing is recorded."""
    mode, depth, lifted = Pretence(), torch._C._len_torch_dispatch_stack, torch._C._only_lift_cpu_tensors()
    optimiser, alike = torch.optim.Optimizer, torch._has_compatible_shallow_copy_type
    grouped, device = optimiser._group_tensors_by_device_and_dtype, Tensor.device

    def groups(tensors, with_indices=False):
        found = grouped(tensors, with_indices)
        return {(each[0][0][0].device, dtype): each for (_, dtype), each in found.items()}

    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "device", property(lambda t: GPU if _on_gpu(t) else device.__get__(t)), raising=False)
        patch.setattr(Tensor, "is_cuda", property(_on_gpu), raising=False)
        patch.setattr(Tensor, "is_cpu", property(lambda t: t.device.type == "cpu"), raising=False)
        patch.setattr(Tensor, "to", _moving(Tensor.to), raising=False)
        patch.setattr(Tensor, "cpu", lambda t, *_: t.to(CPU), raising=False)
        patch.setattr(Tensor, "pin_memory", lambda t: t, raising=False)
        patch.setattr(Tensor, "type_as", lambda t, other: t.to(other), raising=False)
        patch.setattr(optimiser, "_group_tensors_by_device_and_dtype", staticmethod(groups))
        for name in NOTHING:
            patch.setattr(torch.cuda, name, lambda *_: 0)
        patch.setattr(
            torch,
            "_has_compatible_shallow_copy_type",
            lambda one, other: _on_gpu(one) == _on_gpu(other) and alike(one, other),
        )
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch.setattr(torch.cuda, "Event", Event)
        patch.setattr(torch._C, "_len_torch_dispatch_stack", lambda: depth() - 1)  # the package does not see it
        patch.setitem(capture.RECORDERS, "cuda", Plain)
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            with mode:
                yield mode
        finally:
            torch._C._set_only_lift_cpu_tensors(lifted)

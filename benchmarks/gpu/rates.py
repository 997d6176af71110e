"""The share of a machine's rates that a task reaches: of its matrix rate (MFU) and of its bandwidth (MBU)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.gpu.part import Machine, Task


class Products(TorchDispatchMode):
    """Counts the operations of matrix products, convolutions and attention, by dtype."""

    def __init__(self):
        super().__init__()
        self.operations: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        counted = flop_registry.get(func._overloadpacket)
        if counted is not None:
            first = results[0] if isinstance(results, tuple) else results
            self.operations[first.dtype] += counted(*args, **(kwargs or {}), out_val=results)
        return results


def products(task: Task) -> Counter[torch.dtype]:
    """The operations of a task, by the dtype of their results. It must run eagerly: a replayed graph shows none."""
    with Products() as counting:
        task()
    return counting.operations


def mfu(operations: Counter[torch.dtype], milliseconds: float, machine: Machine) -> str:
    """Operations over those that the machine could do in the time. Refused where more than one part in a hundred is in
    another dtype: no single rate is then the limit."""
    total = sum(operations.values())
    if not total:
        return "–"
    dtype, most = operations.most_common(1)[0]
    if most < 0.99 * total or dtype not in machine.flops:
        return f"{total / milliseconds / 1e9:.1f} TFLOP/s; no MFU, {len(operations)} precisions"
    return f"{total / milliseconds / 1e9:.1f} TFLOP/s, {total / (milliseconds / 1e3) / machine.flops[dtype]:.1%}"


def mbu(read: float, milliseconds: float, machine: Machine) -> str:
    """Bytes that must be read or written, over those that the machine could in the time."""
    return f"{read / (milliseconds / 1e3) / machine.bandwidth:.0%}"

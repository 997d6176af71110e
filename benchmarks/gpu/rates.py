"""The share of a machine's rates that a task reaches: of its matrix rate (MFU) and of its bandwidth (MBU)."""

from __future__ import annotations

from benchmarks.gpu.part import Machine
from pushforward.training.utilisation import Operations, precision_of


def mfu(operations: Operations, milliseconds: float, machine: Machine) -> str:
    """Operations over those that the machine could do in the time. Refused where more than one part in a hundred is in
    another dtype: no single rate is then the limit."""
    total = sum(operations.values())
    if not total:
        return "–"
    dtype = precision_of(operations)
    if dtype not in machine.flops:
        return f"{total / milliseconds / 1e9:.1f} TFLOP/s; no MFU, {len(operations)} precisions"
    return f"{total / milliseconds / 1e9:.1f} TFLOP/s, {total / (milliseconds / 1e3) / machine.flops[dtype]:.1%}"


def mbu(read: float, milliseconds: float, machine: Machine) -> str:
    """Bytes that must be read or written, over those that the machine could in the time."""
    return f"{read / (milliseconds / 1e3) / machine.bandwidth:.0%}"

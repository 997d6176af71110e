"""The machine, and timing: all tasks run in turn, so that other load slows all of them alike."""

from __future__ import annotations

import ctypes
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

Task = Callable[[], object]


@dataclass(frozen=True)
class Machine:
    """Its name and its limits: multiplications and additions a second, and bytes read a second."""

    name: str
    device: torch.device
    flops: dict[torch.dtype, float]
    bandwidth: float

    def __str__(self) -> str:
        rates = ", ".join(f"{str(t).removeprefix('torch.')} {r / 1e9:.0f} GFLOP/s" for t, r in self.flops.items())
        return f"{self.name}. Products of large matrices: {rates}; a copy: {self.bandwidth / 1e9:.0f} GB/s."


def this_machine() -> Machine:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {dtype: _matrix_rate(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    instructions = torch.backends.cpu.get_cpu_capability()
    name = f"{processor(device)}, {instructions}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return Machine(name, device, rates, _bandwidth(device))


def seconds(task: Task) -> float:
    """The duration of a task: with OMP_NUM_THREADS=1 processor time, which varies less on a busy machine."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def in_turn(tasks: dict[str, Task], *, rounds: int = 9, budget: float = 30.0) -> dict[str, list[float]]:
    """Seconds of every task in every round: `rounds` of them, or what fits into `budget` seconds, three at least."""
    for task in tasks.values():
        task()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    started = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - started > budget:
            break
        for name, task in tasks.items():
            times[name].append(seconds(task))
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """The median over rounds of the first's time over the second's."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def judged(value: float, aim: float, *, least: bool = True) -> str:
    """A ratio with its aim."""
    met = value >= aim if least else value <= aim
    short = "" if met else f", missed by {abs(1 - value / aim):.0%}"
    return f"{value:.1f} (aim {'≥' if least else '≤'} {aim:g}{short})"


def peak(task: Task) -> float:
    """The peak memory of a task above what was in use before, in bytes; nan where it cannot be measured."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        task()
        return torch.cuda.max_memory_allocated() - before
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else it would reuse memory that earlier tasks freed
        reset.write_text("5")
    except (OSError, AttributeError):
        return float("nan")
    before = _kilobytes(status, "VmRSS")
    task()
    return 1024 * (_kilobytes(status, "VmHWM") - before)


def _kilobytes(status: Path, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+)", status.read_text())
    assert found
    return int(found[1])


def _matrix_rate(device: torch.device, dtype: torch.dtype, side: int = 2048) -> float:
    a = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / min(seconds(lambda: a @ a) for _ in range(7))


def _bandwidth(device: torch.device, numbers: int = 2**26) -> float:
    a = torch.zeros(numbers, device=device)
    b = torch.empty_like(a)
    return 2 * 4 * numbers / min(seconds(lambda: b.copy_(a)) for _ in range(7))  # read once, written once


def processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor()

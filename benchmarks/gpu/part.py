"""Parts of `make gpu`: each has its own time, yields the rows of a table, and keeps them where it overruns or fails."""

from __future__ import annotations

import gc
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch

Task = Callable[[], object]


@dataclass(frozen=True)
class Machine:
    """The device, and its limits as measured: operations a second of large matrix products, bytes a second of a copy.

    `small` asks every part for toy sizes, which a CPU can do.
    """

    device: torch.device
    name: str
    flops: dict[torch.dtype, float]
    bandwidth: float
    small: bool = False

    def __str__(self) -> str:
        rates = ", ".join(f"{str(t).removeprefix('torch.')} {r / 1e12:.1f} TFLOP/s" for t, r in self.flops.items())
        copied = f"{self.bandwidth / 1e12:.2f} TB/s"
        return f"{self.name}. Products of large matrices: {rates}; a copy, read and written: {copied}."


@dataclass(frozen=True)
class Part:
    """A check or a benchmark. rows(machine, seconds) yields cells as text, "a | b | c"; a check's begin with "ok" or
    "FAILED". A module of this package puts its parts into a dict PARTS, by name."""

    title: str
    columns: str
    seconds: float  # the time that it may take
    rows: Callable[[Machine, float], Iterator[str]]
    check: bool = False


@dataclass
class Report:
    """What a part yielded, and how it ended: "" where it ended well."""

    name: str
    part: Part
    rows: list[str]
    ended: str
    seconds: float

    @property
    def failed(self) -> bool:
        return bool(self.ended) or any(row.startswith("FAILED") for row in self.rows)

    def __str__(self) -> str:
        lines = [f"### {self.part.title} (`{self.name}`, {self.seconds:.0f} s)", ""]
        if self.rows:
            lines += [f"| {self.part.columns} |", "|---" * (self.part.columns.count("|") + 1) + "|"]
            lines += [f"| {row} |" for row in self.rows]
        return "\n".join([*lines, *(["", f"**{self.ended}**"] if self.ended else [])])


class OverrunError(BaseException):
    """A part took longer than it may. No part takes it for a failure of what it checks."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises OverrunError in this thread after so many seconds, between two operations of Python. An import is first
    brought to its end: later parts could not use half a module."""

    def stop(_: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                return
            frame = frame.f_back
        raise OverrunError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(name: str, part: Part, machine: Machine, seconds: float | None) -> Report:
    """Run a part within its time. It is asked for nine tenths of that, and stopped at the end of it."""
    allowed, rows, ended = seconds or part.seconds, [], ""
    start = time.monotonic()
    print(f"\n{part.title} ({name}, at most {allowed:.0f} s)\n{part.columns}", flush=True)
    try:
        with limited(allowed):
            for row in part.rows(machine, 0.9 * allowed):
                rows.append(row)
                print(row, flush=True)
    except OverrunError as error:
        ended = str(error)
    except Exception as error:
        ended = f"{type(error).__name__}: {error}".splitlines()[0]
        traceback.print_exc()
    if ended:
        print(ended, flush=True)
    gc.collect()
    return Report(name, part, rows, ended, time.monotonic() - start)


def lost(device: torch.device) -> bool:
    """Whether the device is of no more use to this process, as after an illegal access. Frees unused memory there."""
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
    except RuntimeError as error:
        print(f"the device is lost: {error}", file=sys.stderr, flush=True)
        return True
    return False


def this_machine(device: torch.device, *, small: bool) -> Machine:
    side, size = (256, 2**20) if small else (8192, 2**30)
    rates = {dtype: _matrix_rate(device, dtype, side) for dtype in (torch.bfloat16, torch.float32)}
    a = torch.ones(size, device=device)
    b = torch.empty_like(a)
    copied = 8 * size / (milliseconds(lambda: b.copy_(a), device, 0.5) / 1e3)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return Machine(device, f"{name}, torch {torch.__version__}", rates, copied, small)


def milliseconds(task: Task, device: torch.device, seconds: float) -> float:
    """The median time of a task."""
    return in_turn({"": task}, device, seconds)[""]


def in_turn(tasks: dict[str, Task], device: torch.device, seconds: float) -> dict[str, float]:
    """The median time of each task, in milliseconds, from rounds in which each is run once: three at least, after two
    that are not counted."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    started = time.monotonic()
    for done in range(203):
        if done >= 5 and time.monotonic() - started > seconds:
            break
        for name, task in tasks.items():
            took = _milliseconds(task, device)
            if done >= 2:
                times[name].append(took)
    return {name: statistics.median(each) for name, each in times.items()}


def _milliseconds(task: Task, device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        task()
        return 1e3 * (time.perf_counter() - start)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    start.record()
    task()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def once(task: Task, device: torch.device) -> float:
    """The time of one run, in milliseconds."""
    return _milliseconds(task, device)


def peak(task: Task, device: torch.device) -> float:
    """The most memory that a task takes beside what was in use before, in bytes; nan where it is not known."""
    if device.type != "cuda":
        return float("nan")
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    task()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _matrix_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / (milliseconds(lambda: a @ b, device, 0.5) / 1e3)

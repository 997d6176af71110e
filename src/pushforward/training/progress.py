"""How far a training is: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """Shows steps done, bits/dim (a running mean) and the time left. A context manager."""

    def __init__(self, steps: int):
        self.steps = steps
        self.bits: float | None = None
        self.bar: Bar | None = None

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.started = time.monotonic()
        console = Console()
        if console.is_terminal:
            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[bits]} bits/dim"),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=console)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.steps, bits="-")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, step: int, bits: Tensor) -> None:
        now = bits.item()
        self.bits = now if self.bits is None else 0.98 * self.bits + 0.02 * now
        done = step + 1
        if self.bar:
            self.bar.update(self.task, completed=done, bits=f"{self.bits:.3f}")
        elif done % max(1, self.steps // 10) == 0:
            left = (time.monotonic() - self.started) / done * (self.steps - done)
            print(
                f"step {done} of {self.steps}: {self.bits:.3f} bits/dim, {left:.0f} s left", file=sys.stdout, flush=True
            )

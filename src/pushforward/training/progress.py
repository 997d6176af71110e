"""The progress of a training: a bar with the time left on a terminal, ten lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

RECENT = 20  # steps whose mean is shown: enough to read, and few enough not to lag behind


class Progress:
    """Shows the steps done, the mean of the last steps in `unit`, and the time left. A context manager."""

    def __init__(self, done: int, steps: int, *, unit: str, shown: bool = True):
        self.before, self.steps, self.unit, self.shown = done, steps, unit, shown
        self.values: deque[float] = deque(maxlen=RECENT)
        self.bar: Bar | None = None

    def __enter__(self) -> Progress:
        from rich import progress
        from rich.console import Console

        self.started = time.monotonic()
        console = Console()
        if self.shown and console.is_terminal:
            columns = (
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn(f"{{task.fields[mean]}} {self.unit}"),
                progress.TimeRemainingColumn(),
            )
            self.bar = progress.Progress(*columns, console=console)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.steps, completed=self.before, mean="-")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, value: float) -> None:
        self.values.append(value)
        mean = sum(self.values) / len(self.values)
        if self.bar:
            self.bar.update(self.task, completed=done, mean=f"{mean:.3f}")
        elif self.shown and done % max(1, self.steps // 10) == 0:
            left = (time.monotonic() - self.started) / (done - self.before) * (self.steps - done)
            print(f"step {done} of {self.steps}: {mean:.3f} {self.unit}, {left:.0f} s left", flush=True)

"""The progress of a training, on stderr: a bar with the time left on a terminal, ten lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

RECENT = 20  # steps whose mean is shown: enough to read, and few enough not to lag behind


class Progress:
    """Shows the steps done, `words` of the mean of the last steps, and the time left. A context manager."""

    def __init__(self, done: int, steps: int, *, words: Callable[[float], str], shown: bool = True):
        self.before, self.steps, self.words, self.shown = done, steps, words, shown
        self.values: deque[float] = deque(maxlen=RECENT)
        self.bar: Bar | None = None

    def __enter__(self) -> Progress:
        from rich import progress
        from rich.console import Console

        self.started = time.monotonic()
        console = Console(stderr=True)
        if self.shown and console.is_terminal:
            columns = (
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[mean]}"),
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
            self.bar.update(self.task, completed=done, mean=self.words(mean))
        elif self.shown and done % max(1, self.steps // 10) == 0:
            left = (time.monotonic() - self.started) / (done - self.before) * (self.steps - done)
            told = f"step {done} of {self.steps}: {self.words(mean)}, {left:.0f} s left"
            print(told, file=sys.stderr, flush=True)

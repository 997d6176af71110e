"""Ctrl-C and SIGTERM in a training: the step is finished and the state saved, and then the training stops."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from pushforward.training import ranks


class Interrupted(KeyboardInterrupt):
    """A training was interrupted after a step, and its state was saved: what it prints says where."""


class Interrupts:
    """A context in which Ctrl-C and SIGTERM are noted, and end nothing; a second one ends the process at once.

    Outside of the main thread, which alone receives signals, it does nothing.
    """

    def __enter__(self) -> Interrupts:
        self.signal = 0
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup does
                    self.before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether a process of the training was told to stop."""
        return ranks.any_of(bool(self.signal))

    def stop(self, saved: str) -> None:
        """Raise `Interrupted` after Ctrl-C, and SystemExit with code 143 after SIGTERM, as a shell reports it."""
        if self.signal != signal.SIGTERM:
            raise Interrupted(saved)
        print(f"pushforward: {saved}", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number

"""One worker for all requests: two cores serve one computation at a time better than many."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

WAITING = 64  # requests


class SupersededError(Exception):
    """A later request of the same key came before this one was begun."""


class BusyError(Exception):
    """Too many requests are waiting."""


class Worker:
    """Runs functions in one thread, in the order in which they come. Of those that wait with the same key, only the
    latest is run: of a slider's many requests the first and the last."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(1, "explore")
        self.tickets = itertools.count()
        self.latest: dict[str, int] = {}
        self.waiting = 0

    async def run(self, function: Callable[[], Any], key: str = "") -> Any:
        """The function's value. Raises SupersededError or BusyError where it was not run."""
        if self.waiting >= WAITING:
            raise BusyError
        ticket = next(self.tickets)
        key = key or str(ticket)
        self.latest[key] = ticket
        self.waiting += 1

        def once() -> Any:
            if self.latest.get(key) != ticket:  # none where the later one was cancelled
                raise SupersededError
            return function()

        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, once)
        finally:
            self.waiting -= 1
            if self.latest.get(key) == ticket:
                del self.latest[key]

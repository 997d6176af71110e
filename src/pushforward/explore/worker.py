"""One worker for all requests: two cores serve one computation at a time better than many."""

import asyncio
import math
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

WAITING = 64  # requests
LONG = 0.5  # seconds that a part of a job takes, at most, where it can be shorter
CHEAPER = 0.75  # of the least time for a row: a longer range is worth its time

# the parts of a job: it yields the share that is done, where that is known, and returns the answer
Parts = Generator[float | None, None, Any]


class SupersededError(Exception):
    """A later request of the same key came before this one had its answer, or nobody waits for it."""


class BusyError(Exception):
    """Too many requests are waiting."""


class Status(NamedTuple):
    """The status of a job, for its page."""

    share: float | None  # that is done, where it is known
    seconds: float  # since the request came
    others: int  # jobs, of all pages


class Job:
    """A function in parts, for a page. What it returns is the answer, or an iterator of its parts."""

    def __init__(self, function: Callable[[], Any], page: str):
        self.function, self.page = function, page
        self.parts: Parts | None = None
        self.share: float | None = None
        self.came, self.ended = time.monotonic(), False

    def turn(self) -> tuple[bool, Any]:
        """Compute the next part. Whether it was the last, and the answer. Raises SupersededError once it has ended.

        What a future cannot carry to the request, or what would end the server, is raised as a RuntimeError.
        """
        try:
            return self._turn()
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                raise
            raise RuntimeError(f"a job raised {error!r}") from error

    def _turn(self) -> tuple[bool, Any]:
        if self.ended:
            raise SupersededError
        if self.parts is None:
            found = self.function()
            if not isinstance(found, Generator):
                return True, found
            self.parts = found
        try:
            self.share = next(self.parts)
        except StopIteration as stop:
            return True, stop.value
        return False, None


class Worker:
    """Runs functions in one thread, in the order in which they come; those in parts take turns, a part in each.

    Of those with the same key, a later one ends the earlier ones, before their next part: of a slider's many requests
    that wait, only the latest is run. A job whose task is cancelled ends in the same way.
    """

    def __init__(self):
        self.pool = ThreadPoolExecutor(1, "explore")
        self.jobs: list[Job] = []
        self.latest: dict[str, Job] = {}

    async def run(self, function: Callable[[], Any], key: str = "", *, page: str = "") -> Any:
        """The function's value, or what its parts return. Raises SupersededError or BusyError where there is none."""
        if len(self.jobs) >= WAITING:
            raise BusyError
        job = Job(function, page)
        if key:
            if key in self.latest:
                self.latest[key].ended = True
            self.latest[key] = job
        self.jobs.append(job)
        try:
            last, found = False, None
            while not last:
                last, found = await asyncio.get_running_loop().run_in_executor(self.pool, job.turn)
            return found
        finally:
            job.ended = True
            self.jobs.remove(job)
            if self.latest.get(key) is job:
                del self.latest[key]

    def status(self, page: str) -> list[Status]:
        """That of the jobs of a page, in the order in which they came."""
        now, others = time.monotonic(), len(self.jobs) - 1
        return [Status(job.share, now - job.came, others) for job in self.jobs if job.page == page and not job.ended]


def in_parts(n: int, function: Callable[[range], Any], first: int = 1) -> Parts:
    """What the function returns for the ranges of 0 … n − 1 in turn, a part each.

    The next range is longer where the last one took little time, or less for a row than those before it: a flow that
    samples position after position takes about as long for many rows as for one. It is shorter where the last one took
    long for nothing. The time of other jobs between them is not counted.
    """
    found, start, length, least = [], 0, first, math.inf
    while start < n:
        rows, began = range(start, min(start + length, n)), time.monotonic()
        found.append(function(rows))
        took = time.monotonic() - began
        if took < LONG / 4:
            length *= 4
        elif took / len(rows) < CHEAPER * least:
            length *= 2
        elif took > LONG:
            length = max(first, length // 2)
        least = min(least, took / len(rows))
        start = rows.stop
        yield start / n
    return found

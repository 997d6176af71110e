"""A program of one thread that trains in child processes and kills them: `python -m tests.killing FOLDER RUNS`.

No clock on the wall decides: a training is killed at a flush of a checkpoint, or after so many seconds of its own
computing, so that a busy machine kills it no later. Prints a line of JSON: for every run, how often it was killed,
whether a checkpoint was being written then, and whether it ended with the weights of the run that was left alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed.checkpoint  # here, not in every child anew

import pushforward as pf

WEIGHTS = "model.safetensors"
FORK = multiprocessing.get_context("fork")


def recipe() -> pf.Recipe:
    small = pf.recipes.digits().small()
    return replace(small, train=replace(small.train, steps=12, checkpoint_every=3))


def survive(_: Path) -> None:
    """Be killed by nobody."""


def after(seconds: float) -> Callable[[Path], None]:
    """Be killed when the process has computed for so long: nobody handles SIGPROF, which ends it at once."""
    return lambda _: signal.setitimer(signal.ITIMER_PROF, seconds)


def at_flush(n: int) -> Callable[[Path], None]:
    """Be killed at the n-th flush to the disk while a checkpoint is being written."""
    flush, left = os.fsync, iter(range(n - 1, -1, -1))

    def doom(folder: Path) -> None:
        def fsync(handle: int) -> None:
            if writing(folder) and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            flush(handle)

        os.fsync = fsync

    return doom


def trained(folder: Path, doom: Callable[[Path], object] = survive) -> int:
    """Train in a child process that is doomed so; its exit code, negative if it was killed."""

    def train() -> None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        torch.set_num_threads(1)
        doom(folder)
        pf.train(recipe(), folder)

    child = FORK.Process(target=train)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def whole(folder: Path) -> float:
    """Train to the end; how many seconds that took to compute."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert trained(folder) == 0, "a training failed that nobody killed"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def writing(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".step-*"))


def main(folder: Path, runs: int) -> None:
    recipe().training_data()  # loads what a child would load again
    alone, moments = folder / "alone", random.Random(0)
    took, told = whole(alone), []
    for i in range(runs):
        run, killed, during = folder / str(i), 0, False
        dooms = [after(moments.uniform(0, took)) for _ in range(1 + i % 2)] if i % 4 else [at_flush(1 + i // 2)]
        for doom in dooms:
            killed += trained(run, doom) < 0
            during |= writing(run)
        whole(run)
        same = (run / WEIGHTS).read_bytes() == (alone / WEIGHTS).read_bytes()
        told.append({"killed": killed, "in a checkpoint": during, "same": same})
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

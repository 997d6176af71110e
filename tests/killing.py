"""A program of one thread that trains in child processes and kills them: `python -m tests.killing FOLDER KILLS`.

Prints a line of JSON: for every run, how often it was killed, whether a checkpoint was being written when it was,
and whether it ended with the weights of the run that was left alone.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

import pushforward as pf

WEIGHTS = "model.safetensors"
FORK = multiprocessing.get_context("fork")


def recipe() -> pf.Recipe:
    small = pf.recipes.digits().small()
    return replace(small, train=replace(small.train, steps=12, checkpoint_every=3))


def train(folder: Path) -> None:
    sys.stdout = open("/dev/null", "w")  # noqa: SIM115
    torch.set_num_threads(1)
    pf.train(recipe(), folder)


def whole(folder: Path) -> float:
    """Train to the end; the seconds it took."""
    started = time.monotonic()
    child = FORK.Process(target=train, args=(folder,))
    child.start()
    child.join()
    assert child.exitcode == 0, "a training failed that nobody killed"
    return time.monotonic() - started


def killed(folder: Path, seconds: float) -> bool:
    """Train, and kill after so many seconds or, if negative, once a checkpoint is begun. Was one being written?"""
    child = FORK.Process(target=train, args=(folder,))
    child.start()
    deadline = time.monotonic() + seconds if seconds >= 0 else float("inf")
    while child.is_alive() and time.monotonic() < deadline:
        if seconds < 0 and writing(folder):
            break
    child.kill()
    child.join()
    return writing(folder)


def writing(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".step-*"))


def main(folder: Path, kills: int) -> None:
    alone, moments = folder / "alone", random.Random(0)
    took = whole(alone)
    runs = []
    for i in range(kills):
        run = folder / str(i)
        during = [killed(run, -1 if i % 4 == 0 else moments.uniform(0, took)) for _ in range(1 + i % 2)]
        whole(run)
        same = (run / WEIGHTS).read_bytes() == (alone / WEIGHTS).read_bytes()
        runs.append({"killed": len(during), "in a checkpoint": any(during), "same": same})
    print(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

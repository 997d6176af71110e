"""A program for torchrun that trains the digits' twin: `python -m tests.together FOLDER [AT [PARALLEL [MISHAP]]]`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

import pushforward as pf
from pushforward.moves import Shift


def recipe(parallel: str = "replicated") -> pf.Recipe:
    """Two parts a process, and a base that observes: everything that processes have to agree on."""
    small = pf.recipes.digits().small()
    plan = replace(small.train, batch=12, accumulate=2, log_every=1, precision="float32", parallel=parallel)
    return replace(small, model=replace(small.model, move=Shift()), train=plan)


MISHAPS = {
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "removed": shutil.rmtree,
}


def main(folder: Path, at: str = "1000", parallel: str = "replicated", mishap: str = "killed") -> None:
    torch.set_num_threads(1)
    calls = iter(range(-1, 1000))  # the first fetch is of rows whose operations are counted

    class Mortal(pf.data.Images):
        """Images with a mishap to the last process, or to the folder, when it asks for the batch of a step."""

        def fetch(self, rows):
            if next(calls) == int(at) and int(os.environ["RANK"]) + 1 == int(os.environ["WORLD_SIZE"]):
                MISHAPS[mishap](folder)
            return super().fetch(rows)

    data = recipe().training_data()
    mortal = Mortal(data.images, data.labels, data.levels, data.classes)
    pf.Recipe.training_data = lambda _: mortal
    pf.train(recipe(parallel), folder, device="cpu")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

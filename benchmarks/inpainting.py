"""The number of steps until a chain is independent of its start, for lower halves of held-out digits.

    .venv/bin/python benchmarks/inpainting.py runs/digits

Half of the chains start at the true pixels, half at those of another image, which fit badly. Both have the same density
once they are independent of the start: the table has the mean log p of the last states, in nats, ± its standard error.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import pushforward as pf
from pushforward.editing import Langevin, RandomWalk, hole
from pushforward.randomness import Keyed
from pushforward.runs import read_recipe

IMAGES, STEPS = 32, (30, 100, 300, 1000, 3000)


def main(run: Path) -> None:
    flow, recipe = pf.load(run), read_recipe(run)
    images = recipe.images().fetch(range(IMAGES))[0]
    x = recipe.codec.encode(images, Keyed(0, rows=range(IMAGES)))[0]
    missing = hole("lower", (x.shape[2], x.shape[3]))
    start = torch.cat([x, torch.where(missing, x.roll(1, 0), x)])
    print("| proposal | steps | accepted | from the truth | from another image | seconds |\n" + "|---" * 6 + "|")
    for proposal in (RandomWalk(), Langevin()):
        for steps in STEPS:
            began = time.process_time()
            noise = Keyed(1, rows=range(2 * IMAGES))
            filled = pf.editing.inpaint(flow, start, missing, steps, proposal=proposal, generator=noise)
            took = time.process_time() - began
            ends = [log_p.double() for log_p in next(flow.log_probs([(filled.images, -1)])).chunk(2)]
            cells = [f"{log_p.mean():.1f} ± {log_p.std() / IMAGES**0.5:.1f}" for log_p in ends]
            rate = f"{filled.acceptance.mean():.0%}"
            print(f"| {proposal} | {steps:,} | {rate} | {' | '.join(cells)} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("run", type=Path)
    main(**vars(arguments.parse_args()))

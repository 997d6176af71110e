"""A training step and `log_prob` where the last transform gives the density by itself, and where it computes latents.

    OMP_NUM_THREADS=1 python benchmarks/last_step.py

Both ways take turns in one process, ten times each; the table has medians in milliseconds of the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time

import torch
from torch import Tensor

import pushforward as pf
from pushforward.models import ArBG, AutoregressiveLM, Mix1Options, MixDOptions, TarFlowLM

TURNS = 10
TEXT = {"tokens": 128, "features": 5, "width": 128}
MODELS = {
    "TarFlowLM, Mix-1 three times": (TarFlowLM(**TEXT, depths=(1, 1, 2), move=Mix1Options(16)), 8),
    "TarFlowLM, Mix-d, Mix-1, Mix-1": (
        TarFlowLM(**TEXT, depths=(2, 1, 1), first=MixDOptions(65), move=Mix1Options(4, (32,))),
        8,
    ),
    "TarFlowLM, Mix-d": (TarFlowLM(**TEXT, depths=(4,), first=MixDOptions(65)), 8),
    "AutoregressiveLM": (AutoregressiveLM(tokens=128, vocabulary=65, width=128, depth=4), 8),
    "ArBG of 6 features": (ArBG(features=6), 256),
}


def seconds(log_prob: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """Of loss and gradients, and of the log-densities alone."""
    start = process_time()
    log_prob(x).mean().backward()
    middle = process_time()
    with torch.no_grad():
        log_prob(x)
    return middle - start, process_time() - middle


def main() -> None:
    print(
        "| flow | rows | step, with latents | without | log_prob, with latents | without |\n|---|---|---|---|---|---|"
    )
    for name, (model, rows) in MODELS.items():
        torch.manual_seed(0)
        flow: pf.Flow = model.build()
        x = 2 * torch.rand(rows, *flow.event) - 1
        ways = [lambda x, flow=flow: flow.log_prob_and_latent(x)[0], flow.log_prob]
        taken = [[seconds(way, x) for way in ways] for _ in range(TURNS)]
        cells = (f"{1000 * median(turn[way][what] for turn in taken):.0f}" for what in (0, 1) for way in (0, 1))
        print(f"| {name} | {rows} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

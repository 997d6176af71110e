"""PUSHFORWARD_DATA=… python benchmarks/steps.py RUN: the time of a STARFlow's samples, step by step.

Decodes the same noise by each step in turn, from the deep one on: token by token, and by blockwise Jacobi sweeps. Times
are medians of calls in turn, in milliseconds of a processor, with one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from pushforward.networks import CausalNetwork
from pushforward.runs.folder import load_coded, read_recipe
from pushforward.solve import blockwise_jacobi, sequential
from pushforward.transform import flattened, solved_by

ROWS, CALLS, PROMPT = (1, 16), 5, "red heart"


def timed(*calls: Callable[[], Tensor]) -> tuple[list[float], list[Tensor]]:
    """Milliseconds of calls in turn, and what they return."""
    taken, found = [[] for _ in calls], []
    for _ in range(CALLS):
        found = []
        for call, times in zip(calls, taken, strict=True):
            start = time.process_time()
            found.append(call())
            times.append(1000 * (time.process_time() - start))
    return [median(times) for times in taken], found


@torch.no_grad()
def main(run: str) -> None:
    flow, text = load_coded(run).flow, read_recipe(run).data.text([PROMPT])
    print("| batch | step | layers | token by token | by sweeps | error of sweeps |\n|---|---|---|---|---|---|")
    for rows in ROWS:
        z = flow.base.sample(rows, generator=torch.Generator().manual_seed(0))
        context, whole = flow.context(text.expand(rows, -1, -1)), torch.zeros(2)
        for index, part in reversed([*enumerate(flattened(flow.transform))]):
            nets = [net for net in part.modules() if isinstance(net, CausalNetwork)]
            if not nets:
                z = part.decode(z, context)
                continue
            ways = [solved_by(part, how) for how in (sequential, blockwise_jacobi)]
            times, found = timed(*(partial(way.decode, z, context) for way in ways))
            whole += torch.tensor(times)
            cells = " | ".join(f"{each:.0f}" for each in times)
            depth, error = len(nets[0].layers), (found[0] - found[1]).abs().max()
            print(f"| {rows} | {index} | {depth} | {cells} | {error:.0e} |", flush=True)
            z = found[0]
        ((scoring,), _) = timed(partial(flow.log_prob, z, context))
        print(f"| {rows} | all | | {whole[0]:.0f} | {whole[1]:.0f} | |")
        print(f"| {rows} | a pass of `log_prob` | | {scoring:.0f} | | |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

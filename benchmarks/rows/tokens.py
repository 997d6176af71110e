"""Time against the length of the sequence."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import textbook
import torch
from flows import random
from machine import Machine, Task, in_turn

from pushforward.flow import Flow
from pushforward.models import TarFlow

LENGTHS = (64, 256, 1024, 4096)
PICTURE = Path(__file__).parents[2] / "docs" / "decoding.png"


@torch.no_grad()
def report(machine: Machine) -> str:
    times: dict[str, list[float]] = {}
    for tokens in LENGTHS:
        flow = random(TarFlow(image=(1, tokens // 8, 8), patch=1, transforms=1, width=128, depth=4)).to(machine.device)
        found = in_turn(tasks(flow), rounds=3)
        for side, seconds in found.items():
            times.setdefault(side, []).append(statistics.median(seconds))
    draw(times)
    last = math.log(LENGTHS[-1] / LENGTHS[-2])
    lines = [f"| {side} | {cells(each)} | {math.log(each[-1] / each[-2]) / last:.2f} |" for side, each in times.items()]
    return "\n".join(
        [
            "## Time against tokens",
            "",
            f"One step of width 128 and 4 layers, random weights, batch 1, in ms: docs/{PICTURE.name}. The exponent is "
            f"that from {LENGTHS[-2]} to {LENGTHS[-1]} tokens: it is 1 where reading weights dominates, 2 where "
            "reading the cache does.",
            "",
            "| | " + " | ".join(f"{tokens} tokens" for tokens in LENGTHS) + " | exponent |",
            "|---" * (len(LENGTHS) + 2) + "|",
            *lines,
        ]
    )


def tasks(flow: Flow) -> dict[str, Task]:
    z = flow.base.sample(1)
    return {
        "textbook": lambda: textbook.decode(flow, z),
        "sampling": lambda: flow.decode(z),
        "scoring": lambda: flow.log_prob(z.reshape(1, *flow.event)),
    }


def cells(times: list[float]) -> str:
    return " | ".join(f"{1e3 * seconds:.3g}" for seconds in times)


def draw(times: dict[str, list[float]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    for side, each in times.items():
        axes.loglog(LENGTHS, each, marker="o", label=side)
    axes.set(xlabel="tokens", ylabel="seconds", title="One step, width 128, 4 layers, batch 1")
    axes.set_xticks(LENGTHS, [str(tokens) for tokens in LENGTHS])
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(PICTURE, dpi=120)

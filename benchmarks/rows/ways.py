"""What `pushforward.solve.Autotuned` picks, step by step."""

from __future__ import annotations

from functools import partial

import torch
from flows import LARGE, MNIST, Subject, random
from machine import Machine, in_turn, ratio

from pushforward.flow import Flow
from pushforward.solve import Autotuned, sequential


def report(machine: Machine) -> str:
    kinds = [(subject, weights) for subject in (MNIST, LARGE) for weights in ("random", "trained")]
    flows = {f"{subject.name}, {weights}": partial(make, subject, weights) for subject, weights in kinds}
    flows[f"{LARGE.name}, of tokens that hardly depend on each other"] = partial(make, LARGE, "loose")
    lines = []
    for name, make_flow in flows.items():
        try:
            flow = make_flow().to(machine.device)
        except FileNotFoundError as reason:
            lines.append(f"| {name} | | skipped: {reason} | |")
            continue
        for batch in (1, 16):
            lines.append(f"| {name} | {batch} | {' | '.join(picks(flow, batch))} |")
            print(lines[-1], flush=True)
    return "\n".join(
        [
            "## Inverse solvers",
            "",
            "The solver that `Autotuned` picked for each step, from the last to the first, and the time of "
            "`sequential` over its.",
            "",
            "| flow | batch | picks | sequential / autotuned |",
            "|---|---|---|---|",
            *lines,
        ]
    )


def make(subject: Subject, weights: str) -> Flow:
    if weights == "trained":
        return subject.trained()
    return random(subject.model, answers=1e-4) if weights == "loose" else subject.random()


@torch.no_grad()
def picks(flow: Flow, batch: int) -> tuple[str, str]:
    labels = torch.arange(batch, device=flow.device) % 10
    z, autotuned = flow.base.sample(batch), Autotuned()
    flow.decode(z, labels, solve=autotuned)
    sides = {"sequential": sequential, "autotuned": autotuned}
    times = in_turn({side: partial(flow.decode, z, labels, solve=solve) for side, solve in sides.items()}, budget=10)
    return ", ".join(
        autotuned.notes.values()
    ) or "sequential, too small to try", f"{ratio(times['sequential'], times['autotuned']):.2f}"

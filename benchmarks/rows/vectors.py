"""Flows of vectors against zuko's and nflows': densities, training steps and samples."""

from __future__ import annotations

import statistics

import torch
from machine import Machine, Task, in_turn, judged, ratio
from torch import Tensor, nn

from pushforward.flow import Flow

ROWS, STEPS, BUDGET = 256, 3, 3.0
SIZES = (8, 64, 256)
TASKS = ("log_prob", "training step", "samples")
AIMS = {
    **{(model, task, d): 1.5 for model in ("MAF", "RealNVP") for task in TASKS[:2] for d in SIZES},
    **{(f"NSF, {kind}", task, d): 2.5 for kind in ("coupling", "autoregressive") for task in TASKS[:2] for d in SIZES},
    ("MAF", "samples", 8): 1,
    ("MAF", "samples", 64): 10,
    ("MAF", "samples", 256): 20,
    ("NSF, autoregressive", "samples", 64): 40,
}


def report(machine: Machine) -> str:
    lines = ["## Vectors", ""]
    try:
        import peers
    except ModuleNotFoundError as missing:
        return "\n".join([*lines, f"Skipped: this needs {missing.name}, of the extra `dev`."])
    lines += [
        f"{ROWS} events, {STEPS} steps, networks of {peers.DEPTH} layers of {peers.WIDTH}, or of as many residual "
        "branches for splines. The last layers have random weights, and encoding our samples gives their noise within "
        "1e-3. A training step is the loss and its gradients. The peer is the faster of zuko and nflows; only nflows "
        "has spline couplings.",
        "",
        "| model | features | task | ours, ms | peer | its, ms | its / ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, sides in peers.SIDES.items():
        for d in SIZES:
            torch.manual_seed(0)
            x = torch.randn(ROWS, d, device=machine.device)
            flows = {side: random_weights(make(d, STEPS)).to(machine.device) for side, make in sides.items()}
            check(flows["ours"], x)
            timed = {side: tasks(flow, x) for side, flow in flows.items()}
            for task in TASKS:
                if task == "samples" and d == SIZES[-1] and model == "NSF, autoregressive":
                    continue  # peers take minutes
                cells = compared({side: each[task] for side, each in timed.items()}, AIMS.get((model, task, d)))
                lines.append(f"| {model} | {d} | {task} | {cells} |")
                print(lines[-1], flush=True)
    return "\n".join(lines)


def random_weights(flow: nn.Module) -> nn.Module:
    """Give the last layers random weights, since our flows start as the identity."""
    for name, parameter in flow.named_parameters():
        if "answer" in name:
            nn.init.normal_(parameter, std=0.05)
    return flow


@torch.no_grad()
def check(flow: nn.Module, noise: Tensor) -> None:
    """Raises AssertionError where encoding a sample does not give its noise."""
    assert isinstance(flow, Flow)
    error = (flow.encode(flow.decode(noise)) - noise).abs().max()
    assert error < 1e-3, f"noise of {noise.shape[1]} features has an error of {error:.1e} after a round trip"


def tasks(flow: nn.Module, x: Tensor) -> dict[str, Task]:
    """The tasks to time. zuko's flows are made into distributions each time, as their users do."""
    from peers import distribution

    @torch.no_grad()
    def score() -> object:
        return distribution(flow).log_prob(x)

    @torch.no_grad()
    def sample() -> object:
        made = distribution(flow)
        return made.sample(len(x) if made is flow else (len(x),))

    return dict(zip(TASKS, (score, lambda: (-distribution(flow).log_prob(x).mean()).backward(), sample), strict=True))


def compared(tasks: dict[str, Task], aim: float | None) -> str:
    times = in_turn(tasks, rounds=50, budget=BUDGET)
    ours = times.pop("ours")
    best = min(times, key=lambda side: statistics.median(times[side]))
    ms = [f"{1e3 * statistics.median(side):.2f}" for side in (ours, times[best])]
    value = ratio(times[best], ours)
    return f"{ms[0]} | {best} | {ms[1]} | {judged(value, aim) if aim else f'{value:.1f}'}"

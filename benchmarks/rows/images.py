"""Flows on images: a step of Glow beside its peers', memory of reversible chains, and round trips at full depth."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from machine import Machine, Task, in_turn, peak, ratio
from torch import nn

from pushforward.codecs import UniformDequantization
from pushforward.data import Images, find
from pushforward.flow import Flow
from pushforward.models import FlowPlusPlus, Glow, Jet, Model, RealNVP
from pushforward.training import Likelihood, Plan, minimise
from pushforward.transform import Chain
from pushforward.transforms import reversible

COLOUR, WIDTH, ROWS, SIGMOID = (3, 32, 32), 512, 32, Glow(image=(3, 32, 32))
SIZES = ((12, 16), (48, 4))  # channels, side: the first and the last level of Glow on CIFAR-10
DEEP = {
    "Real NVP, 8 blocks": RealNVP(image=COLOUR, width=8),
    "Glow, 3 × 32 steps": Glow(image=COLOUR, width=32),
    "Flow++, 10 blocks": FlowPlusPlus(image=COLOUR, width=8, components=4),
    "Jet, 32 couplings": Jet(image=COLOUR, width=32, heads=1),
}


def ours(channels: int) -> nn.Module:
    return Chain(*SIGMOID.step(channels, seed=0)).to(memory_format=torch.channels_last)  # pyright: ignore


def of_normflows(channels: int) -> nn.Module:
    from normflows.flows import GlowBlock

    return GlowBlock(channels, WIDTH, net_actnorm=True)


def of_freia(channels: int, side: int) -> nn.Module:
    from FrEIA.modules import AllInOneBlock

    def net(given: int, answers: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(given, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, answers, 3, padding=1),
        )

    return AllInOneBlock([(channels, side, side)], subnet_constructor=net)


def steps(channels: int, side: int) -> dict[str, Task]:
    """Times of log-dets and training steps (loss and gradients): ours, ours in bfloat16, and the peers'.

    Gradients include that of the step's input, which every step of a flow but the first needs.
    """
    x = torch.randn(ROWS, channels, side, side, requires_grad=True)
    mine, normflows, freia = ours(channels), of_normflows(channels), of_freia(channels, side)
    doors = {
        "ours": lambda: mine(x),
        "normflows": lambda: normflows.inverse(x),  # pyright: ignore[reportCallIssue]
        "FrEIA": lambda: freia([x]),
    }

    def scored(door: Task) -> None:
        with torch.no_grad():
            door()

    def trained(door: Task) -> None:
        z, log_det = door()  # pyright: ignore[reportGeneralTypeIssues]
        ((z[0] if isinstance(z, tuple) else z).square().sum() - log_det.sum()).backward()

    def narrow(task: Task) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            task()

    tasks: dict[str, Task] = {}
    for verb, how in (("log_prob", scored), ("training", trained)):
        each = {side: partial(how, door) for side, door in doors.items()}
        tasks |= {f"{verb}, {side}": task for side, task in each.items()}
        tasks[f"{verb}, ours in bfloat16"] = partial(narrow, each["ours"])
    return tasks


def speed() -> list[str]:
    lines = []
    for channels, side in SIZES:
        times = in_turn(steps(channels, side), rounds=7)
        for verb in ("log_prob", "training"):
            mine = times[f"{verb}, ours"]
            for other in ("normflows", "FrEIA"):
                theirs = times[f"{verb}, {other}"]
                plain, narrow = ratio(theirs, mine), ratio(theirs, times[f"{verb}, ours in bfloat16"])
                lines.append(
                    f"| {channels} × {side}² | {verb} | {other} | {1e3 * min(mine):.0f} | {plain:.2f} | {narrow:.2f} |"
                )
    return lines


def memory_by_itself() -> list[str]:
    """Runs in a process that returns freed memory at once, so that its peak is the peak in use."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    told = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, __file__], env=os.environ | told, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def memory() -> list[str]:
    lines = []
    for depth in (32, 64, 128):
        cells = []
        for change in (lambda t: t, reversible):
            flow = Glow(image=COLOUR, levels=2, transforms=depth, width=64).build()
            gradients = sum(4 * p.numel() for p in flow.parameters())
            flow.transform = change(flow.transform)
            x = torch.randn(2 * ROWS, *COLOUR)
            step = partial(_step, flow, x)
            step()
            cells.append((peak(step) - gradients) / 1e6)
        lines.append(f"| {depth} | {cells[0]:.0f} | {cells[1]:.0f} |")
    return lines


def _step(flow: Flow, x: torch.Tensor) -> None:
    (-flow.log_prob(x).mean()).backward()


def round_trip(model: Model, data: Images) -> str:
    torch.manual_seed(0)
    plan = Plan(steps=20, batch=16, lr=1e-3, warmup=5, average_decay=0.9, precision="float32")
    flow = minimise(Likelihood(model.build(), UniformDequantization(256)), data, plan)
    x = UniformDequantization(256).encode(data.images[:32])[0]
    with torch.no_grad():
        errors = (flow.decode(flow.encode(x)) - x).abs().flatten()
    return f"{errors.max().item():.1e} | {errors.quantile(0.999).item():.1e}"


def report(_: Machine) -> str:
    lines = ["## Flows on images", ""]
    try:
        table = speed()
        lines += [
            f"A step of Glow (actnorm, 1 × 1 convolution, affine coupling of width {WIDTH}) on {ROWS} images, and the "
            "peers' times over ours; FrEIA's has a fixed rotation, and no actnorms in its network. Aim: "
            "≥ 1.5 with bfloat16, and never below 1 in float32.",
            "",
            "| channels × side² | task | peer | ours, ms | peer / ours | peer / ours in bfloat16 |",
            "|---|---|---|---|---|---|",
            *table,
        ]
    except ModuleNotFoundError as reason:
        lines.append(f"Peers: skipped, {reason}.")
    lines += [
        "",
        f"Memory of a training step of a Glow of two levels and width 64 on {2 * ROWS} images of 32 × 32, in MB "
        "besides the weights and their gradients. Aim: at most 1.1 times as much at 128 steps as at 32.",
        "",
        "| steps in a level | plain | reversible |",
        "|---|---|---|",
        *memory_by_itself(),
    ]
    try:
        data = find("cifar10", "train", image=COLOUR)
        assert isinstance(data, Images)
        trips = [f"| {name} | {round_trip(model, Images(data.images))} |" for name, model in DEEP.items()]
        lines += [
            "",
            "Round trips in float32 on [−1, 1] at the published depth, of narrow versions after 20 steps on CIFAR-10; "
            "half a bin is 3.9e-03.",
            "",
            "| flow | largest error | 99.9 % within |",
            "|---|---|---|",
            *trips,
        ]
    except FileNotFoundError as reason:
        lines += ["", f"Round trips: skipped, {reason}"]
    return "\n".join(lines)


if __name__ == "__main__":
    print("\n".join(memory()))

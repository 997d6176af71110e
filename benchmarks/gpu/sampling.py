"""Sampling of TarFlows, eager and by recorded steps, against scoring and against the limit of the memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

import pushforward as pf
from benchmarks.gpu.checks import eager, randomised
from benchmarks.gpu.part import Machine, Part, Task, in_turn, once, peak
from benchmarks.gpu.rates import mbu, mfu
from pushforward.models import TarFlow
from pushforward.moves import Affine
from pushforward.networks import CausalTransformer, Learned
from pushforward.solve import blockwise_jacobi, jacobi, sequential
from pushforward.training.utilisation import operations_of

MNIST = TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10)


def narrow(machine: Machine) -> AbstractContextManager:
    return torch.autocast(machine.device.type, torch.bfloat16)


@torch.no_grad()
def mnist(machine: Machine, seconds: float) -> Iterator[str]:
    model = MNIST.small() if machine.small else MNIST
    flow = randomised(model.build()).to(machine.device)
    graphed = pf.graphed(flow)
    for batch in (1, 64, 256):
        labels = torch.arange(batch, device=machine.device) % 10
        x = torch.randn(batch, *flow.event, device=machine.device)
        with eager():
            took = in_turn(
                {"scoring": lambda x=x, labels=labels: flow.log_prob(x, labels)}, machine.device, seconds / 30
            ) | in_turn({"eager": lambda labels=labels: flow.sample((), labels)}, machine.device, seconds / 15)
        tasks: dict[str, Task] = {
            "steps": lambda labels=labels: flow.sample((), labels),
            "whole": lambda labels=labels: graphed.sample((), labels),
            "bf16": lambda labels=labels: in_bf16(machine, flow, labels),
        }
        took |= in_turn(tasks, machine.device, seconds / 6)
        memory = peak(tasks["steps"], machine.device) / 1e6
        yield " | ".join([str(batch), *(f"{each:.2f}" for each in took.values()), f"{memory:.0f}"])


def in_bf16(machine: Machine, flow: pf.Flow, labels: Tensor) -> Tensor:
    with narrow(machine):
        return flow.sample((), labels)


def step_of_imagenet(machine: Machine) -> tuple[CausalTransformer, int]:
    """One step of the published ImageNet-64 model, and how many tokens it has."""
    tokens, width, depth = (32, 64, 2) if machine.small else (1024, 768, 8)
    net = CausalTransformer(12, (12, 2), positions=Learned(tokens, width), width=width, depth=depth, heads=width // 64)
    return randomised(net).to(machine.device), tokens


@torch.no_grad()
def imagenet(machine: Machine, seconds: float) -> Iterator[str]:
    net, tokens = step_of_imagenet(machine)
    width, depth = net.read.out_features, len(net.layers)
    until = time.monotonic() + seconds
    for batch in (1, 64):
        z = torch.randn(batch, tokens, 12, device=machine.device)

        def solve(z: Tensor = z) -> Tensor:
            return torch.cat([x for x, _ in sequential(net, Affine(), z)], 1)

        operations = operations_of(lambda z=z: net(z))
        ways = {
            "eager, float32": (torch.float32, eager()),
            "graph, float32": (torch.float32, nullcontext()),
            "graph, bf16": (torch.bfloat16, narrow(machine)),
        }
        expected = None
        for way, (dtype, mode) in ways.items():
            if time.monotonic() > until:
                return
            with mode:
                solve(z[:, :8])
                result = solve()
                took = once(solve, machine.device)
                memory = peak(solve, machine.device) / 1e9 if way.startswith("graph") else float("nan")
            expected = result if expected is None else expected
            limit = 1e3 * moved(batch, tokens, width, depth, dtype.itemsize) / machine.bandwidth
            cells = (
                f"{took / 1e3:.3f} | {1e3 * took / (tokens - 1):.0f} | {limit / 1e3:.3f} | {took / limit:.1f}",
                mbu(limit / 1e3 * machine.bandwidth, took, machine),
                mfu(operations, took, machine) if dtype == torch.float32 else "–",
                f"{memory:.2f} | {(result - expected).abs().max().item():.0e}",
            )
            yield f"{batch} | {way} | {' | '.join(cells)}"


def moved(batch: int, tokens: int, width: int, depth: int, size: int) -> float:
    """The bytes that decoding reads: for each token all weights, and the keys and values of the tokens before it."""
    weights, memory = 12 * width**2 * depth, 2 * depth * width * batch * tokens / 2
    return (weights + memory) * size * (tokens - 1)


@torch.no_grad()
def sweeps(machine: Machine, seconds: float) -> Iterator[str]:
    """A step whose tokens depend little on each other, as those of trained flows do: sweeps against recorded steps."""
    net, tokens = step_of_imagenet(machine)
    randomised(net, 0.02)
    until = time.monotonic() + seconds
    for batch in (1, 64):
        z = torch.randn(batch, tokens, 12, device=machine.device)
        with narrow(machine):
            scoring = once(lambda z=z: net(z), machine.device)
            for name, solver in {
                "sequential": sequential,
                "jacobi": jacobi,
                "blockwise of 8": blockwise_jacobi,
            }.items():
                if time.monotonic() > until:
                    return
                list(solver(net, Affine(), z[:, :16]))  # kernels are loaded
                took = once(lambda z=z, solver=solver: list(solver(net, Affine(), z)), machine.device)
                yield f"{batch} | {name} | {took / 1e3:.3f} | {took / scoring:.0f}"


PARTS = {
    "sampling": Part(
        "Sampling an MNIST TarFlow: 49 tokens, 4 steps of 4 layers, width 128",
        "batch | scoring, ms | eager, ms | recorded steps, ms | whole call recorded, ms | steps, bf16, ms | peak, MB",
        40,
        mnist,
    ),
    "imagenet": Part(
        "Sampling one step of an ImageNet-64 TarFlow: 1,024 tokens, 8 layers, width 768",
        "batch | way | s | µs a token | limit, s | time / limit | MBU | MFU | peak, GB | largest difference",
        60,
        imagenet,
    ),
    "sweeps": Part(
        "Sweeps in place of steps, bf16, on a network of weak dependence",
        "batch | solver | s | in scoring passes",
        30,
        sweeps,
    ),
}

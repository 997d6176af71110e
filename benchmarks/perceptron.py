"""The kernel of perceptrons against tensor operations: a pass and a training step, and their rates.

    OMP_NUM_THREADS=1 python benchmarks/perceptron.py

Multiplications that a mask makes zero are not counted. Best of 20 turns of 50 calls, of 256 events, in float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import nn

from pushforward.kernels import serving
from pushforward.networks import MLP, MaskedMLP

NETWORKS = {
    "perceptron, 64 → 128 → 128 → 128": MLP(64, (64, 2)),
    "masked, 64 → 128 → 128 → 128": MaskedMLP(64, (2,)),
    "masked, 256 → 128 → 128 → 512": MaskedMLP(256, (2,)),
    "residual, 32 → 5 × 128 → 736": MLP(32, (32, 23), residual=True),
}
ROWS, LEAST = 256, serving.LEAST["perceptron"]


def seconds(run: Callable[[], object]) -> dict[bool, float]:
    """The times of a call by the kernel and by tensors, in turn."""
    best = {True: math.inf, False: math.inf}
    for _ in range(20):
        for kernel in best:
            serving.LEAST["perceptron"] = LEAST if kernel else math.inf
            run()
            started = time.process_time()
            for _ in range(50):
                run()
            best[kernel] = min(best[kernel], (time.process_time() - started) / 50)
    return best


def products(net: MLP | MaskedMLP) -> float:
    """The operations of a pass."""
    weights = [layer.folded()[0] for layer in net.layers.linears() or ()]
    return 2 * ROWS * sum(weight.count_nonzero().item() for weight in weights)


def main() -> None:
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024)
    rate = 2 * 1024**3 / min(seconds(lambda: a @ a).values())
    print(f"A product of matrices, torch's: {rate / 1e9:.0f} GFLOP/s.\n")
    print("| network | task | kernel, µs | tensors, µs | tensors / kernel | kernel, GFLOP/s | tensors, GFLOP/s |")
    print("|---|---|---|---|---|---|---|")
    for name, net in NETWORKS.items():
        for weights in net.parameters():
            nn.init.normal_(weights, std=0.1)
        x = torch.randn(ROWS, net.layers.maps[0].in_features, requires_grad=True)
        tasks: dict[str, tuple[Callable[[], object], float]] = {
            "pass": (torch.no_grad()(lambda: net(x)), 1),  # noqa: B023
            "pass and gradients": (lambda: net(x).sum().backward(), 3),  # noqa: B023
        }
        for task, (run, passes) in tasks.items():
            best, work = seconds(run), passes * products(net) / 1e9
            cells = f"{1e6 * best[True]:.0f} | {1e6 * best[False]:.0f} | {best[False] / best[True]:.1f}"
            print(f"| {name} | {task} | {cells} | {work / best[True]:.0f} | {work / best[False]:.0f} |", flush=True)


if __name__ == "__main__":
    main()

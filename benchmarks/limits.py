"""How near training and scoring are to the machine's limit.

    python benchmarks/limits.py

First the cost of the published TarFlows, counted on the meta device. Then, for small models, the share of the machine's
matrix rate that each task reaches: every round times the matrix product and each task once, and shares are medians over
rounds. Operations are counted by torch, with attention in full.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pushforward.codecs import UniformDequantization
from pushforward.conditions import Condition
from pushforward.models import TarFlow
from pushforward.training import Likelihood

ROUNDS = 7
MNIST = TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10)
MEASURED = {
    "digits, 4 × 2 layers, width 64": TarFlow(image=(1, 8, 8), patch=2, transforms=4, width=64, depth=2, classes=10),
    "MNIST, 4 × 4 layers, width 128": MNIST,
}
PUBLISHED = {
    "MNIST": MNIST,
    "ImageNet 64": TarFlow(image=(3, 64, 64), patch=2),
    "ImageNet 64, by class": TarFlow(image=(3, 64, 64), patch=2, classes=1000),
    "ImageNet 128, by class": TarFlow(image=(3, 128, 128), patch=4, width=1024, classes=1000),
    "AFHQ 256, by class": TarFlow(image=(3, 256, 256), patch=8, classes=3),
}
SIDE = 1024  # side of the square matrices whose product sets the limit


def flops(task: Callable[[], object]) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        task()
    return counter.get_total_flops()


def seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def tasks(model: TarFlow, batch: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    flow = model.build()
    objective = Likelihood(flow, UniformDequantization(256), condition_dropout=0.1)
    optimiser = torch.optim.AdamW(flow.parameters(), lr=1e-5, fused=True)
    images = torch.randint(256, (batch, *model.image), dtype=torch.uint8)
    labels = torch.randint(model.classes, (batch,))
    x = torch.randn(batch, *model.image)

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss, _ = objective(images, labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    @torch.no_grad()
    def score() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            flow.log_prob(x, labels)

    return {"training step": step, "scoring": score}


def count_published() -> None:
    print("| published TarFlow | parameters | tokens | scoring, GFLOP an image | training step, GFLOP an image |")
    print("|---|---|---|---|---|")
    for name, model in PUBLISHED.items():
        with torch.device("meta"):
            flow, x = model.build(), torch.zeros(1, *model.image)
            context = {"label": Condition(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.bool))}
        transform = partial(flow.transform, x, context if model.classes else None)
        scoring, step = flops(transform), flops(lambda: transform()[1].sum().backward())  # noqa: B023
        parameters = sum(p.numel() for p in flow.parameters())
        print(f"| {name} | {parameters:,} | {flow.base.event[0]} | {scoring / 1e9:.2f} | {step / 1e9:.2f} |")
    print()


def measure(name: str, model: TarFlow, batch: int, dtype: torch.dtype) -> None:
    a = torch.randn(SIDE, SIDE, dtype=dtype)
    work = tasks(model, batch, dtype)
    count = {task: flops(run) for task, run in work.items()}
    times: dict[str, list[float]] = {task: [] for task in work}
    shares: dict[str, list[float]] = {task: [] for task in work}
    for _ in range(ROUNDS):
        limit = 2 * SIDE**3 / min(seconds(lambda: a @ a) for _ in range(5))
        for task, run in work.items():
            times[task].append(seconds(run))
            shares[task].append(count[task] / times[task][-1] / limit)
    for task in work:
        took = statistics.median(times[task])
        print(
            f"| {name} | {batch} | {str(dtype).removeprefix('torch.')} | {task} | {count[task] / 1e9:.2f} | "
            f"{took * 1e3:.0f} | {count[task] / took / 1e9:.0f} | {statistics.median(shares[task]):.0%} |",
            flush=True,
        )


def main() -> None:
    count_published()
    print("| model | batch | networks in | task | GFLOP | ms | GFLOP/s | of the matrix rate |")
    print("|---|---|---|---|---|---|---|---|")
    for name, model in MEASURED.items():
        for dtype in (torch.float32, torch.bfloat16):
            measure(name, model, 64, dtype)
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()

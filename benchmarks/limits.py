"""How near the machine's limit training, scoring and sampling are.

    python benchmarks/limits.py

For each model: parameters, floating-point operations (torch's counter, attention in full) and the share of the matrix
rate reached, in one run: every round times the matrix product and each task once, and shares are medians over rounds.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pushforward.lift import Uniform
from pushforward.models import TarFlow
from pushforward.training import Likelihood

ROUNDS = 7
DIGITS = TarFlow(image=(1, 8, 8), patch=2, steps=4, width=64, depth=2, classes=10)
MNIST = TarFlow(image=(1, 28, 28), patch=4, steps=4, width=128, depth=4, classes=10)
SIDE = 1024  # of the square matrices whose product sets the limit


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
    objective = Likelihood(flow, Uniform(256), drop=0.1)
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

    def sample() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            flow.sample((), labels)

    return {"training step": step, "scoring": score, "sampling": sample}


def main() -> None:
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print("| model | parameters | batch | networks in | task | GFLOP | ms | GFLOP/s | of the matrix rate |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, model, batch in (("digits 4 × 2, width 64", DIGITS, 64), ("MNIST 4 × 4, width 128", MNIST, 64)):
        parameters = sum(p.numel() for p in model.build().parameters())
        for dtype in (torch.float32, torch.bfloat16):
            a = torch.randn(SIDE, SIDE, dtype=dtype)
            work = tasks(model, batch, dtype)
            count = {task: flops(work[task]) for task in ("training step", "scoring")}
            count["sampling"] = count["scoring"]  # each token is read once either way
            times: dict[str, list[float]] = {task: [] for task in work}
            shares: dict[str, list[float]] = {task: [] for task in work}
            for _ in range(ROUNDS):
                limit = 2 * SIDE**3 / min(seconds(lambda: a @ a) for _ in range(5))  # noqa: B023
                for task, run in work.items():
                    times[task].append(seconds(run))
                    shares[task].append(count[task] / times[task][-1] / limit)
            for task in work:
                took = statistics.median(times[task])
                print(
                    f"| {name} | {parameters:,} | {batch} | {str(dtype).removeprefix('torch.')} | {task} | "
                    f"{count[task] / 1e9:.2f} | {took * 1e3:.0f} | {count[task] / took / 1e9:.0f} | "
                    f"{statistics.median(shares[task]):.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

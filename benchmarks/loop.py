"""The overhead of the training loop over the same steps written out: processor milliseconds a step of a small MAF.

.venv/bin/python benchmarks/loop.py
"""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import pushforward as pf
from pushforward.data import Arrays
from pushforward.training import Likelihood, Plan, minimise

PLAN = Plan(steps=400, batch=256, precision="float32")


def written_out(flow: pf.Flow, x: Tensor) -> None:
    optimiser = torch.optim.AdamW(flow.parameters(), lr=PLAN.lr, fused=True)
    for _ in range(PLAN.steps):
        rows = torch.randint(0, len(x), (PLAN.batch,))
        optimiser.zero_grad()
        loss = -flow.log_prob(x[rows]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        loss.item()


def by_minimise(flow: pf.Flow, x: Tensor) -> None:
    minimise(Likelihood(flow), Arrays(x), PLAN)


def milliseconds(train: Callable[[pf.Flow, Tensor], None]) -> float:
    torch.manual_seed(0)
    flow, x = pf.models.MAF(features=6).build(), torch.randn(20_000, 6)
    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        train(flow, x)
    return 1000 * (time.process_time() - started) / PLAN.steps


def main() -> None:
    torch.set_num_threads(1)
    milliseconds(by_minimise)
    times = [(milliseconds(written_out), milliseconds(by_minimise)) for _ in range(3)]
    for name, found in zip(("written out", "by minimise"), zip(*times, strict=True), strict=True):
        print(
            f"{name}: {min(found):.1f} ms of a processor a step, best of three; median {statistics.median(found):.1f}"
        )


if __name__ == "__main__":
    main()

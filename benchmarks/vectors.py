"""Flows of vectors beside zuko's: sampling, and a training step (loss and gradients), of equal networks.

    python benchmarks/vectors.py

One thread; every round times each side once, and what is printed is the median, in milliseconds of processor time. The
last layers have random weights, so that no step is the identity, and `encode` of our sample must return its noise.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import zuko

from pushforward.flow import Flow
from pushforward.models import MAF, NSF, RealNVP

ROUNDS, ROWS, STEPS, HIDDEN = 5, 256, 3, (128, 128)
PAIRS = {
    "MAF": (lambda d: MAF(features=d, steps=STEPS, hidden=HIDDEN), zuko.flows.MAF, (8, 64, 256)),
    "RealNVP": (lambda d: RealNVP(features=d, steps=STEPS, hidden=HIDDEN), zuko.flows.RealNVP, (8, 64, 256)),
    "NSF, autoregressive": (
        lambda d: NSF(features=d, steps=STEPS, hidden=HIDDEN, autoregressive=True),
        partial(zuko.flows.NSF, residual=True),
        (8, 64),  # zuko takes minutes for more
    ),
}


def milliseconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return 1000 * (time.process_time() - start)


def compare(ours: Callable[[], object], theirs: Callable[[], object]) -> str:
    rounds = [(milliseconds(ours), milliseconds(theirs)) for _ in range(ROUNDS + 1)][1:]
    a, b = (statistics.median(side) for side in zip(*rounds, strict=True))
    return f"{a:.1f} | {b:.1f} | {b / a:.1f}"


def random_weights(flow: Flow) -> Flow:
    for name, parameter in flow.named_parameters():
        if "answer" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return flow


def main() -> None:
    torch.set_num_threads(1)
    print("| model | features | task | ours | zuko | ratio |\n|---|---|---|---|---|---|")
    for name, (model, peer, sizes) in PAIRS.items():
        for features in sizes:
            flow, other = (
                random_weights(model(features).build()),
                peer(features, transforms=STEPS, hidden_features=HIDDEN),
            )
            noise, x = torch.randn(ROWS, features), torch.randn(ROWS, features)
            with torch.no_grad():
                error = (flow.encode(flow.decode(noise)) - noise).abs().max()
                assert error < 1e-3, f"{name} of {features}: the noise came back with an error of {error:.1e}"
                sampled = compare(lambda: flow.decode(noise), lambda: other().sample((ROWS,)))  # noqa: B023
            print(f"| {name} | {features} | sample | {sampled} |", flush=True)
            trained = compare(
                lambda: (-flow.log_prob(x).mean()).backward(),  # noqa: B023
                lambda: (-other().log_prob(x).mean()).backward(),  # noqa: B023
            )
            print(f"| {name} | {features} | train | {trained} |", flush=True)


if __name__ == "__main__":
    main()

"""ArBG beside a neural spline flow, on eight distributions of two features and on three tables.

    OMP_NUM_THREADS=1 PUSHFORWARD_DATA=folder python benchmarks/arbg.py

The folder holds tabular_small.npz. Both models have one training: 1,500 steps of Adam on 256 rows, the best of ten
weights on validation rows. Features are standardised, and log-densities are of these. About 15 minutes of one core.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from densities import Splits, load, scored, train
from torch import Tensor
from toys import ENTROPY

import pushforward as pf

STEPS, SEED, ROWS = 1500, 0, 20_000
TABLES = ("MAGIC gamma", "Z → μμ", "HIGGS")
MODELS = {
    "ArBG": lambda features: pf.models.ArBG(features=features),
    "NSF": lambda features: pf.models.NSF(features=features, autoregressive=True, transforms=3, hidden=(64, 64)),
}


def sets() -> Iterator[tuple[str, Callable[[], Splits]]]:
    for make in ENTROPY:
        yield make.__name__, lambda make=make: drawn(make)
    for table in TABLES:
        yield table, lambda table=table: load(table, Path(os.environ["PUSHFORWARD_DATA"]))


def drawn(make: Callable[[int, np.random.Generator], np.ndarray]) -> Splits:
    x = torch.from_numpy(make(2 * ROWS, np.random.default_rng(0))).float()
    x = (x - x[:ROWS].mean(0)) / x[:ROWS].std(0)
    return Splits(x[:ROWS], x[ROWS : ROWS + 2048], x[ROWS + 2048 :])


def fitted(model: str, splits: Splits) -> tuple[Tensor, str]:
    """log p of the test rows, and the parameters and seconds in words."""
    torch.manual_seed(SEED)
    flow, started = MODELS[model](splits.train.shape[1]).build(), time.process_time()
    flow.initialize(splits.train)
    train(flow, splits, STEPS, SEED)
    size = sum(parameter.numel() for parameter in flow.parameters())
    return scored(flow, splits.test).double(), f"{size:,} | {time.process_time() - started:.0f}"


def mean(nats: Tensor) -> str:
    return f"{nats.mean():.3f} ± {nats.std() / math.sqrt(len(nats)):.3f}"


def main() -> None:
    print("| rows of | D | ArBG, log p | parameters | s | NSF, log p | parameters | s | ArBG − NSF |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, make in sets():
        splits = make()
        (ours, size), (its, other) = (fitted(model, splits) for model in MODELS)
        features = splits.train.shape[1]
        print(
            f"| {name} | {features} | {mean(ours)} | {size} | {mean(its)} | {other} | {mean(ours - its)} |", flush=True
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

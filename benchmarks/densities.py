"""Densities of real data: four flows of vectors against their best peers, with the same training.

    OMP_NUM_THREADS=1 PUSHFORWARD_DATA=folder python benchmarks/densities.py [table …]

The folder holds tabular_small.npz and bsds300_patches8.npz. 168 runs of 5 to 60 s of one core; finished
runs are in runs/densities and are not repeated. Prints the table of docs/results.md, and writes
benchmarks/densities.csv.

Both sides have as many steps, networks of the same width, and the same batches, learning rates and evaluations on
validation rows, of which the best weights are kept. Tables: columns of fewer than 24 values and repeated rows are left
out. Uniform noise is added to each column, as wide as the smallest difference between two of its values: it hides the
rounding of discrete columns and is negligible in continuous ones. Rows are split 80 / 10 / 10 % and standardised by the
first part; densities are of standardised features. Patches: as in Uria et al. 2013 (RNADE), arXiv:1306.0186: noise, the
mean subtracted, the last pixel left out; split by image.
"""

from __future__ import annotations

import copy
import csv
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from peers import SIDES, distribution
from torch import Tensor, nn

from pushforward.flow import Flow

RUNS, ROWS = Path("runs/densities"), Path(__file__).with_suffix(".csv")
SEEDS, BATCH, LR, LOOKS = range(3), 256, 1e-3, 10

MEASURED = ("parameters", "seconds", "overflowed", "validation")  # of a run; seconds are the processor's
TRAINED = {  # model -> its steps, its peer, and for how many steps both are trained
    "MAF": (5, "zuko", 1000),
    "RealNVP": (8, "zuko", 1000),
    "NSF, coupling": (5, "nflows", 400),
    "NSF, autoregressive": (5, "zuko", 400),
}


@dataclass(frozen=True)
class Splits:
    """Standardised rows for training, validation and test."""

    train: Tensor
    validation: Tensor
    test: Tensor


def log_prob(flow: nn.Module, x: Tensor) -> Tensor:
    return distribution(flow).log_prob(x)  # pyright: ignore[reportCallIssue]


def load(name: str, folder: Path) -> Splits:
    noise = np.random.default_rng(0)
    if name == PATCHES:
        with np.load(folder / "bsds300_patches8.npz") as arrays:
            parts = [patches(arrays[part], noise) for part in ("train", "val", "test")]
    else:
        with np.load(folder / "tabular_small.npz") as arrays:
            parts = split(*TABLES[name](arrays), noise)
    if name == "shuttle":
        parts = [np.arcsinh(part) for part in parts]  # its tails are that long
    mean, deviation = parts[0].mean(0), parts[0].std(0)
    return Splits(*(torch.from_numpy(((part - mean) / deviation).astype("float32")) for part in parts))


def patches(pixels: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    x = pixels.reshape(-1, 64) + noise.random((len(pixels), 64))
    return (x - x.mean(1, keepdims=True))[:, :-1]


def split(x: np.ndarray, groups: np.ndarray | None, noise: np.random.Generator) -> list[np.ndarray]:
    """80, 10 and 10 % of the rows, with noise; rows of one group stay together."""
    values = [np.unique(column) for column in x.T]
    kept = [i for i, each in enumerate(values) if len(each) >= 24]
    gaps = np.array([np.diff(values[i]).min() for i in kept])
    x, first = np.unique(x[:, kept], axis=0, return_index=True)
    x = x + gaps * (noise.random(x.shape) - 0.5)
    names, group = np.unique(first if groups is None else groups[first], return_inverse=True)
    part = np.searchsorted([0.8, 0.9], noise.permutation(len(names)) / len(names), side="right")[group]
    return [x[part == i] for i in range(3)]


def zmumu(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Momenta of two muons. An event is in several rows, with its muons exchanged or measured differently."""
    x = dict(zip(arrays["zmumu_columns"], arrays["zmumu"].astype("float64").T, strict=True))
    return np.stack([x[f"{part}{i}"] for i in (1, 2) for part in ("pt", "eta", "phi")], 1), x["Event"]


def column_table(*keys: str, without: int = 0) -> Callable[[dict[str, np.ndarray]], tuple[np.ndarray, None]]:
    """The rows under some keys, without the last columns."""
    return lambda arrays: (np.concatenate([arrays[key] for key in keys]).astype("float64")[:, : -without or None], None)


TABLES = {
    "protein": column_table("uci_protein"),
    "bike": column_table("uci_bike", without=1),  # the sum of two others
    "MAGIC gamma": column_table("adb_magic_gamma"),
    "shuttle": column_table("adb_shuttle"),
    "Z → μμ": zmumu,
    "HIGGS": column_table("higgs7k_train", "higgs7k_test"),
}
PATCHES = "BSDS patches"


@torch.no_grad()
def scored(flow: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([log_prob(flow, rows) for rows in x.split(2048)])


def train(flow: nn.Module, splits: Splits, steps: int, seed: int) -> tuple[float, int]:
    """Train to the best weights on validation rows; returns their score and the number of steps that overflowed."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(flow.parameters(), LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 50) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    best, kept, overflowed = -math.inf, flow.state_dict(), 0
    for step in range(1, steps + 1):
        rows = splits.train[torch.randint(len(splits.train), (BATCH,), generator=generator)]
        optimiser.zero_grad()
        (-log_prob(flow, rows).mean()).backward()
        if nn.utils.clip_grad_norm_(flow.parameters(), 10.0).isfinite():
            optimiser.step()
        else:
            overflowed += 1
        schedule.step()
        if step % (steps // LOOKS) == 0 and (score := scored(flow, splits.validation[:2048]).mean().item()) > best:
            best, kept = score, copy.deepcopy(flow.state_dict())
    flow.load_state_dict(kept)
    return best, overflowed


def run(file: Path, make: Callable[[], nn.Module], splits: Splits, steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    flow, started = make(), time.process_time()
    if isinstance(flow, Flow):
        flow.initialize(splits.train)
    best, overflowed = train(flow, splits, steps, seed)
    found = {
        "numbers": splits.train.shape[1],
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "seconds": round(time.process_time() - started, 1),
        "overflowed": overflowed,
        "validation": round(best, 4),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file.with_suffix(".part.npz"), test=scored(flow, splits.test).numpy(), **found)
    file.with_suffix(".part.npz").rename(file)


def file_of(table: str, model: str, side: str, seed: int) -> Path:
    return RUNS / f"{table}-{model}-{side}-{seed}.npz".replace(" ", "_")


def with_error(scores: np.ndarray) -> str:
    """The mean of scores (seed, row) ± its standard error: over the means of seeds, and over rows."""
    seeds, rows = scores.mean(1, dtype="float64"), scores.mean(0, dtype="float64")
    among = seeds.var(ddof=1) / len(seeds) if len(seeds) > 1 else 0.0
    return f"{seeds.mean():.3f} ± {math.sqrt(among + rows.var(ddof=1) / len(rows)):.3f}"


def found(table: str, model: str, side: str) -> dict[int, dict[str, np.ndarray]]:
    """The runs that have finished, by seed."""
    files = {seed: file_of(table, model, side, seed) for seed in SEEDS}
    return {seed: dict(np.load(file)) for seed, file in files.items() if file.exists()}


def report(tables: list[str]) -> None:
    """Print a row for each table and model, over the seeds that both sides have finished."""
    print(
        "| table | D | model | parameters | ours, nats | peer | parameters | its nats | ours − its | median | seeds |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for table, (model, (_, peer, _)) in product(tables, TRAINED.items()):
        ours, its = (found(table, model, side) for side in ("ours", peer))
        if seeds := sorted(ours.keys() & its.keys()):
            a, b = (np.stack([runs[seed]["test"] for seed in seeds]) for runs in (ours, its))
            first, other = ours[seeds[0]], its[seeds[0]]
            about = f"{table} | {first['numbers']} | {model} | {first['parameters'].item():,} | {with_error(a)}"
            theirs = f"{peer} | {other['parameters'].item():,} | {with_error(b)}"
            middle = np.median((a - b).mean(0))
            print(f"| {about} | {theirs} | {with_error(a - b)} | {middle:.3f} | {len(seeds)} |")


def write_rows(tables: list[str]) -> None:
    with ROWS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("table", "model", "side", "seed", *MEASURED, "test"))
        for table, (model, (_, peer, _)) in product(tables, TRAINED.items()):
            for side in ("ours", peer):
                for seed, run in found(table, model, side).items():
                    measured = (run[name].item() for name in MEASURED)
                    writer.writerow((table, model, side, seed, *measured, f"{run['test'].mean():.4f}"))


def main(tables: list[str]) -> None:
    folder = Path(os.environ["PUSHFORWARD_DATA"])
    for seed, table in product(SEEDS, tables):
        splits = load(table, folder)
        for model, (steps, peer, training) in TRAINED.items():
            for side in ("ours", peer):
                file = file_of(table, model, side, seed)
                if not file.exists():
                    run(file, partial(SIDES[model][side], splits.train.shape[1], steps), splits, training, seed)
                    print(table, model, side, seed, f"{np.load(file)['test'].mean():.3f}", file=sys.stderr, flush=True)
    report(tables)
    write_rows(tables)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:] or [*TABLES, PATCHES])

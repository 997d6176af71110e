"""Defaults on small tables: `pf.fit` with nothing set, beside the defaults of zuko and sbi, on 12 sets of rows.

    OMP_NUM_THREADS=1 PUSHFORWARD_DATA=folder python benchmarks/small_tables.py [model …] [set …] [seed …]

The folder holds tabular_small.npz and sbibm_reference_posteriors.npz. Finished runs are lines of
benchmarks/small_tables.csv and are not repeated. Prints the table of docs/results.md.

A fifth of the rows of each set is the test part, which no side sees; each side holds out a tenth of the others for its
own early stopping. Ours is `pf.fit(model.build(), x, context)`. sbi's is `NPE(density_estimator=…).train()`, on sets
with a context. zuko has no training of its own: its flows are trained as sbi trains, by Adam at 5e-4 with batches of
200 and gradients clipped at 5, until 20 epochs bring nothing better, on rows standardised by mean and deviation.

Columns of fewer than 24 values and repeated rows are left out; uniform noise as wide as the smallest difference between
two values of a column hides its rounding. Densities are of features standardised by the rows that are not for the test.
"""

from __future__ import annotations

import copy
import csv
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zuko
from densities import TABLES, split
from posteriors import TASKS
from torch import Tensor, nn

import pushforward as pf

ROWS = Path(__file__).with_suffix(".csv")
SEEDS, SIMULATIONS = 3, 2000
FIELDS = ("set", "rows", "features", "context", "model", "side", "seed", "parameters", "seconds", "test", "error")


@dataclass(frozen=True)
class Part:
    x: Tensor
    context: Tensor | None


def simulated(name: str) -> Callable[[Path], tuple[np.ndarray, np.ndarray]]:
    """Parameters, given the outcomes of a simulator of sbibm."""

    def rows(_: Path) -> tuple[np.ndarray, np.ndarray]:
        task = TASKS[name]()
        torch.manual_seed(1)
        theta = task.prior.sample((SIMULATIONS,))
        return theta.double().numpy(), task.simulate(theta).double().numpy()

    return rows


def posterior(name: str, rows: int) -> Callable[[Path], tuple[np.ndarray, None]]:
    """Draws of a reference posterior of sbibm."""
    return lambda folder: (np.load(folder / "sbibm_reference_posteriors.npz")[f"{name}_1_post"][:rows], None)


def table(name: str, *, most: int = 20_000, columns: int = 40, target: bool = False):
    """The first columns of a table, given its last one where that is a `target`."""

    def rows(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
        with np.load(folder / "tabular_small.npz") as arrays:
            x, groups = TABLES[name](arrays) if name in TABLES else (arrays[name].astype("float64"), None)
        if groups is not None:
            x = x[np.unique(groups, return_index=True)[1]]  # the first row of each group
        noise = np.random.default_rng(0)
        found = noise.permutation(np.concatenate(split(x, None, noise)))[:most]
        return (found[:, :-1][:, :columns], found[:, -1:]) if target else (found[:, :columns], None)

    return rows


SETS = {  # the quickest first
    "housing": table("uci_housing", target=True),
    "concrete": table("uci_concrete", target=True),
    "Z → μμ": table("Z → μμ"),
    "wine": table("uci_wine"),
    "linear Gaussian": simulated("gaussian_linear"),
    "two moons": simulated("two_moons"),
    "SLCP posterior": posterior("slcp", 2000),
    "predators posterior": posterior("lotka_volterra", 5000),
    "gas": table("uci_gas", columns=36),
    "parkinsons": table("uci_parkinsons", target=True),
    "HIGGS": table("HIGGS"),
    "MAGIC gamma": table("MAGIC gamma"),
}


def load(name: str, folder: Path) -> tuple[Part, Part]:
    """The rows for fitting and the rows for the test, both in the units of the first."""
    x, context = SETS[name](folder)
    order = np.random.default_rng(0).permutation(len(x))
    parts = order[len(x) // 5 :], order[: len(x) // 5]

    def units(values: np.ndarray) -> list[Tensor]:
        mean, deviation = values[parts[0]].mean(0), values[parts[0]].std(0)
        return [torch.from_numpy((values[part] - mean) / deviation).float() for part in parts]

    contexts = [None, None] if context is None else units(context)
    first, second = (Part(*pair) for pair in zip(units(x), contexts, strict=True))
    return first, second


def ours(model: Callable, part: Part, seed: int) -> tuple[nn.Module, Callable]:
    flow = model(features=part.x.shape[1], context=0 if part.context is None else part.context.shape[1]).build()
    pf.fit(flow, part.x, part.context, seed=seed, progress=False)
    return flow, flow.log_prob


def of_zuko(model: Callable, part: Part, seed: int) -> tuple[nn.Module, Callable]:
    flow = model(part.x.shape[1], 0 if part.context is None else part.context.shape[1])

    def log_prob(x: Tensor, context: Tensor | None) -> Tensor:
        return flow(context).log_prob(x)

    order = torch.randperm(len(part.x), generator=torch.Generator().manual_seed(seed))
    held = max(1, len(order) // 10)
    train_as_sbi_does(flow, log_prob, rows_of(part, order[held:]), rows_of(part, order[:held]))
    return flow, log_prob


def rows_of(part: Part, rows: Tensor) -> Part:
    return Part(part.x[rows], None if part.context is None else part.context[rows])


def train_as_sbi_does(flow: nn.Module, log_prob: Callable, train: Part, held_out: Part) -> None:
    optimiser = torch.optim.Adam(flow.parameters(), 5e-4)
    best, kept, since = -math.inf, copy.deepcopy(flow.state_dict()), 0
    while since < 20:
        for rows in torch.randperm(len(train.x)).split(200):
            if len(rows) < min(200, len(train.x)):
                continue
            some = rows_of(train, rows)
            optimiser.zero_grad()
            (-log_prob(some.x, some.context).mean()).backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimiser.step()
        with torch.no_grad():
            score = log_prob(held_out.x, held_out.context).mean().item()
        since += 1
        if score > best:
            best, kept, since = score, copy.deepcopy(flow.state_dict()), 0
    flow.load_state_dict(kept)


def of_sbi(word: str, part: Part, _: int) -> tuple[nn.Module, Callable]:
    from sbi.inference import NPE

    inference = NPE(density_estimator=word, show_progress_bars=False)
    flow = inference.append_simulations(part.x, part.context).train()
    return flow, lambda x, context: flow.log_prob(x[None], context)[0]


SIDES = {
    "MAF": {
        "ours": lambda *given: ours(pf.models.MAF, *given),
        "zuko": lambda *given: of_zuko(zuko.flows.MAF, *given),
        "sbi": lambda *given: of_sbi("maf", *given),
    },
    "NSF": {
        "ours": lambda *given: ours(pf.models.NSF, *given),
        "zuko": lambda *given: of_zuko(zuko.flows.NSF, *given),
        "sbi": lambda *given: of_sbi("nsf", *given),
    },
    "FlowMatching": {"ours": lambda *given: ours(pf.models.FlowMatching, *given)},
    "FFJORD": {"ours": lambda *given: ours(pf.models.FFJORD, *given)},
}


def run(name: str, model: str, side: str, seed: int, folder: Path) -> dict[str, object]:
    part, test = load(name, folder)
    torch.manual_seed(seed)
    started = time.process_time()
    flow, log_prob = SIDES[model][side](part, seed)
    seconds = time.process_time() - started
    with torch.no_grad():
        parts = [rows_of(test, rows) for rows in torch.arange(len(test.x)).split(500)]
        found = torch.cat([log_prob(part.x, part.context) for part in parts]).double()
    return {
        "set": name,
        "rows": len(part.x),
        "features": part.x.shape[1],
        "context": 0 if part.context is None else part.context.shape[1],
        "model": model,
        "side": side,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "seconds": round(seconds, 1),
        "test": round(found.mean().item(), 4),
        "error": round(found.std().item() / math.sqrt(len(found)), 4),
    }


def finished() -> list[dict[str, str]]:
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def add(row: dict[str, object]) -> None:
    new = not ROWS.exists()
    with ROWS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def report() -> None:
    """A line for each set and model: mean over seeds of each side's test score, ± the error over test rows."""
    print("| set | rows | features, context | model | ours | zuko | sbi | seconds: ours, zuko, sbi | seeds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in SETS:
        for model in SIDES:
            runs = [row for row in finished() if (row["set"], row["model"]) == (name, model)]
            by_side = {side: [row for row in runs if row["side"] == side] for side in ("ours", "zuko", "sbi")}
            if not by_side["ours"]:
                continue
            scores = {side: f"{mean(rows, 'test'):.3f} ± {mean(rows, 'error'):.3f}" if rows else "–"
                      for side, rows in by_side.items()}  # fmt: skip
            seconds = ", ".join(f"{mean(rows, 'seconds'):.0f}" if rows else "–" for rows in by_side.values())
            first = by_side["ours"][0]
            about = f"{name} | {first['rows']} | {first['features']}, {first['context']} | {model}"
            print(f"| {about} | {' | '.join(scores.values())} | {seconds} | {len(by_side['ours'])} |")


def mean(rows: list[dict[str, str]], field: str) -> float:
    return sum(float(row[field]) for row in rows) / len(rows)


def main(words: list[str]) -> None:
    models = [word for word in words if word in SIDES] or [*SIDES]
    sets = [word for word in words if word in SETS] or [*SETS]
    seeds = [int(word) for word in words if word not in {*SIDES, *SETS}] or range(SEEDS)
    folder = Path(os.environ["PUSHFORWARD_DATA"])
    done = {(row["set"], row["model"], row["side"], int(row["seed"])) for row in finished()}
    for seed in seeds:
        for name in sets:
            for model in models:
                for side in SIDES[model]:
                    conditional = load(name, folder)[0].context is not None
                    if (name, model, side, seed) not in done and (side != "sbi" or conditional):
                        add(run(name, model, side, seed, folder))
    report()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    main(sys.argv[1:])

"""Flows from tables in files, and samples that are tables."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from pushforward.data.columns import read_table
from pushforward.files import alone_in, replacing, write
from pushforward.fitting import Fit, fit, plan_for
from pushforward.lift import Identity
from pushforward.models import MAF, NSF, VectorRealNVP
from pushforward.models.vector import VectorModel
from pushforward.recipe import Recipe, to_json
from pushforward.run import RECIPE, note
from pushforward.training import Log
from pushforward.training.checkpoint import WEIGHTS, write_weights

MODELS: dict[str, Callable[..., VectorModel]] = {
    "maf": MAF,
    "nsf": partial(NSF, autoregressive=True),
    "realnvp": VectorRealNVP,
}


def learn(
    data: Path,
    out: Path,
    given: tuple[str, ...] = (),
    weights: str | None = None,
    model: Literal["maf", "nsf", "realnvp"] = "nsf",
    steps: int | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a flow to a table of numbers: `pushforward train --data table.csv --out DIR`. Its samples have its columns.

    A tenth of the rows is held out; the best weights are kept, and it ends when they have not become better for long.

    Args:
        data: A .csv, .parquet or .npz file.
        out: The run folder, a new one.
        given: Columns that the others are conditioned on.
        weights: The column that says how much each row counts.
        model: What kind of flow.
        steps: How many at most; left out, as many as suit the number of rows.
        seed: Of the weights, the order, and the rows held out.
    """
    table = read_table(data)
    columns = tuple(name for name in table.columns if name not in (*given, weights))
    if not columns:
        raise ValueError(f"no column of {data} is left to learn; there are {', '.join(table.columns)}.")
    plan = plan_for(len(table), seed=seed, **({} if steps is None else {"steps": steps}))
    config = MODELS[model](features=len(columns), context=len(given))
    recipe = Recipe(data=str(data), columns=columns, given=given, model=config, lift=Identity(), train=plan)
    context = table.take(given) if given else None
    counts = table.take([weights])[:, 0] if weights else None
    with alone_in(out):
        if (out / RECIPE).exists():
            raise ValueError(f"{out} holds a run already. Give another folder.")
        flow = recipe.objective().flow
        fitted = fit(flow, table.take(columns), context, counts, **asdict(plan))
        write_weights(flow, out / WEIGHTS)
        write(out / RECIPE, to_json(recipe))
        Log(out).write(fitted.steps, {"seconds": round(fitted.seconds, 3)})
        note(out, {fitted.measured: {"text": str(fitted), **asdict(fitted)}})
    return fitted


def write_table(columns: tuple[str, ...], rows: Iterable[list[float]], out: Path) -> None:
    """Write rows under the names of their columns, as CSV."""
    if out.suffix != ".csv":
        raise ValueError(f"this run learned a table, and its samples are one: give --out samples.csv, not {out}.")
    with replacing(out) as begun, begun.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])

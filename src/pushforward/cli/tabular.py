"""Flows from tables in files, and samples that are tables."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from pushforward.codecs import codec_of
from pushforward.data.columns import Table, read_table
from pushforward.files import alone_in, replacing, write
from pushforward.fitting import Fit, fit, plan_for
from pushforward.models import MAF, NSF, CircularNSF, VectorRealNVP
from pushforward.models.vector import VectorModel
from pushforward.recipe import Recipe, to_json
from pushforward.run import RECIPE, note
from pushforward.training import Log
from pushforward.training.checkpoint import WEIGHTS, write_weights
from pushforward.transforms import Circle, Integers, Interval, Support

MODELS: dict[str, Callable[..., VectorModel]] = {
    "maf": MAF,
    "nsf": partial(NSF, autoregressive=True),
    "realnvp": VectorRealNVP,
    "circularnsf": CircularNSF,
}
SUPPORTS = {"interval": (Interval, float), "circle": (Circle, float), "integers": (Integers, int)}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of a table are: those not named here are learned, on the real line."""

    given: tuple[str, ...] = ()  # Columns that the others are conditioned on.
    weights: str | None = None  # The column that says how much each row counts.
    # Where columns live, COLUMN=KIND:LOW:HIGH, both ends among integers: mass=interval:0: for positive numbers,
    # phi=circle:0:360, jets=integers:0:9.
    supports: tuple[str, ...] = ()

    def learned(self, table: Table) -> tuple[str, ...]:
        """The columns that are left."""
        return tuple(name for name in table.columns if name not in (*self.given, self.weights))

    def supports_of(self, learned: tuple[str, ...]) -> tuple[Support, ...]:
        """A support for each of these; none where none is told of. Raises ValueError where one cannot be read."""
        found: dict[str, Support] = {}
        for words in self.supports:
            name, _, place = words.partition("=")
            kind, *ends = place.split(":")
            if name not in learned or kind not in SUPPORTS or len(ends) != 2:
                raise ValueError(
                    f"a support is COLUMN=KIND:LOW:HIGH, of a column that is learned ({', '.join(learned)}) and a kind "
                    f"({', '.join(SUPPORTS)}), as {learned[0]}=interval:0: for positive numbers; got {words!r}."
                )
            make, number = SUPPORTS[kind]
            found[name] = make(**{end: number(text) for end, text in zip(("low", "high"), ends, strict=True) if text})
        return tuple(found.get(name, Interval()) for name in learned) if found else ()


def learn(
    data: Path,
    out: Path,
    columns: Columns = Columns(),
    model: Literal["maf", "nsf", "realnvp", "circularnsf"] = "nsf",
    steps: int | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a flow to a table of numbers: `pushforward train --data table.csv --out DIR`. Its samples have its columns.

    A tenth of the rows is held out; the best weights are kept, and it ends when they have not become better for long.

    Args:
        data: A .csv, .parquet or .npz file.
        out: The run folder, a new one.
        model: What kind of flow; circularnsf takes circles.
        steps: How many at most; left out, as many as suit the number of rows.
        seed: Of the weights, the order, and the rows held out.
    """
    table = read_table(data)
    learned, given, weights = columns.learned(table), columns.given, columns.weights
    if not learned:
        raise ValueError(f"no column of {data} is left to learn; there are {', '.join(table.columns)}.")
    plan = plan_for(len(table), seed=seed, **({} if steps is None else {"steps": steps}))
    config = MODELS[model](features=len(learned), context=len(given), supports=columns.supports_of(learned))
    with torch.device("meta"):
        codec = codec_of(config.build())
    recipe = Recipe(data=str(data), columns=learned, given=given, model=config, codec=codec, train=plan)
    context = table.take(given) if given else None
    counts = table.take([weights])[:, 0] if weights else None
    with alone_in(out):
        if (out / RECIPE).exists():
            raise ValueError(f"{out} holds a run already. Give another folder.")
        flow = recipe.objective().flow
        fitted = fit(flow, table.take(learned), context, counts, **asdict(plan))
        write_weights(flow, out / WEIGHTS)
        write(out / RECIPE, to_json(recipe))
        Log(out).write(fitted.steps, {"seconds": round(fitted.seconds, 3)})
        note(out, {fitted.measured: {"text": str(fitted), **asdict(fitted)}})
    return fitted


def write_table(columns: tuple[str, ...], rows: Iterable[list[float]], out: Path) -> None:
    """Write rows under the names of their columns, as CSV; whole numbers without a point."""
    if out.suffix != ".csv":
        raise ValueError(f"this run learned a table, and its samples are one: give --out samples.csv, not {out}.")
    with replacing(out) as begun, begun.open("w", newline="") as file:
        cells = ([int(v) if v.is_integer() else v for v in row] for row in rows)
        csv.writer(file, lineterminator="\n").writerows([columns, *cells])

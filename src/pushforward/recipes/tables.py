"""The recipe for a table of numbers in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from pushforward.codecs import codec_of
from pushforward.data import TableSource
from pushforward.data.columns import read_table
from pushforward.fitting import plan_for
from pushforward.models import BY_WORD, VectorModel
from pushforward.recipe import Recipe
from pushforward.transforms import Circle, Integers, Interval, Support

SUPPORTS: dict[str, tuple[Callable[..., Support], Callable[[str], float]]] = {
    "interval": (Interval, float),
    "circle": (Circle, float),
    "integers": (Integers, int),
}


def table(
    path: str | Path,
    *,
    context: Sequence[str] = (),
    weights: str | None = None,
    supports: Mapping[str, Support] | None = None,
    model: str | Callable[..., VectorModel] = "autoregressive-nsf",
    steps: int | None = None,
    seed: int = 0,
) -> Recipe:
    """Fit a flow to the columns of a table, a .csv, .parquet or .npz file, other than those of context and weights.

    pushforward train --data table.csv --out runs/table
    A tenth of the rows is held out; the best weights are kept, and training stops early when they stop improving.

    `context` names the columns that the others are conditioned on, and `weights` the column of weights. `supports` maps
    columns to their supports, by default the real line. `model` is a key of `models.BY_WORD`, or a model class. `steps`
    is the maximum; by default it suits the number of rows. The seed is that of the weights, the order, and the choice
    of held-out rows.
    """
    found = read_table(Path(path))
    learned = tuple(name for name in found.columns if name not in (*context, weights))
    source = TableSource(str(path), learned, tuple(context), weights, seed=seed)
    found.take([name for name in (*context, weights) if name is not None] or learned)  # raises where one is missing
    for name in supports or ():
        if name not in learned:
            raise ValueError(f"a support is of a column that is learned ({', '.join(learned)}); got {name!r}.")
    places = tuple(supports.get(name, Interval()) for name in learned) if supports else ()
    make = BY_WORD[model] if isinstance(model, str) else model
    config = make(features=len(learned), context=len(context), supports=places)
    with torch.device("meta"):
        codec = codec_of(config.build())
    training = len(found) - round(source.validation * len(found))
    plan = plan_for(training, seed=seed, **({} if steps is None else {"steps": steps}))
    return Recipe(data=source, model=config, codec=codec, train=plan)


def read_supports(words: Sequence[str]) -> dict[str, Support]:
    """Supports of columns, from COLUMN=KIND:LOW:HIGH; an end may be empty.

    >>> read_supports(["mass=interval:0:", "jets=integers:0:9"])
    {'mass': Interval(low=0.0, high=None), 'jets': Integers(low=0, high=9)}
    """
    found: dict[str, Support] = {}
    for word in words:
        name, _, place = word.partition("=")
        kind, *ends = place.split(":")
        if kind not in SUPPORTS or len(ends) != 2:
            raise ValueError(
                f"a support is COLUMN=KIND:LOW:HIGH, of a kind ({', '.join(SUPPORTS)}), as mass=interval:0: for "
                f"positive numbers; got {word!r}."
            )
        make, number = SUPPORTS[kind]
        found[name] = make(**{end: number(text) for end, text in zip(("low", "high"), ends, strict=True) if text})
    return found

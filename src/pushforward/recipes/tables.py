"""The recipe for a table of numbers in a file."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from pushforward.codecs import codec_of
from pushforward.data import TableSource
from pushforward.data.data import check_several, naming
from pushforward.data.tables import Table, others, read_table
from pushforward.fitting import check_options, plan_for
from pushforward.models import BY_WORD, VectorModel
from pushforward.models.model import check_class
from pushforward.objectives import MaximumLikelihood
from pushforward.recipe import Recipe, nearest
from pushforward.transforms import Circle, Integers, Interval, Support
from pushforward.transforms.supports import ProductSupport

SUPPORTS: dict[str, tuple[Callable[..., Support], Callable[[str], float]]] = {
    "interval": (Interval, float),
    "circle": (Circle, float),
    "integers": (Integers, int),
}
READING = ("missing", "header", "validation")  # fields of a `TableSource` that `table` takes


def table(
    path: str | Path,
    *,
    columns: Sequence[str] = (),
    drop: Sequence[str] = (),
    context: Sequence[str] = (),
    weights: str | None = None,
    supports: Mapping[str, Support] | None = None,
    model: str | Callable[..., VectorModel] = "autoregressive-nsf",
    **changes: Any,
) -> Recipe:
    """Fit a flow to columns of a table in a file: all of them, other than those of context and weights.

    pushforward train --data table.csv --out runs/table
    A tenth of the rows is held out; the best weights are kept, and training stops early when they stop improving.

    `columns` names those to learn, where they are not all, and `drop` those to leave out. `context` names the columns
    that the others are conditioned on, and `weights` the column of weights. `supports` maps columns to their supports,
    by default the real line. `model` is a key of `models.BY_WORD`, or a model class. `changes` are fields of a
    `TableSource`, such as missing="drop", header=True or validation=0.2, a share or another table's path, and of a
    `training.Plan`, such as steps, the maximum, lr or batch; `plan_for` chooses the others by the number of rows. The
    seed is that of the weights, the order, and the choice of held-out rows.

    Raises ValueError where columns cannot be learned, by their names and by the lines of the file, counted from 1.
    """
    for name, words in {"columns": columns, "drop": drop, "context": context}.items():
        check_several(words, name)
    if not isinstance(path, str | PathLike):
        raise TypeError(f"a recipe is for a table in a file; got a {type(path).__name__}. For rows in memory: pf.fit.")
    check_options({name: value for name, value in changes.items() if name not in READING})
    if isinstance(model, str) and model not in BY_WORD:
        raise ValueError(f"there is no model {model!r} of tables{nearest(model, set(BY_WORD))}")
    make = BY_WORD[model] if isinstance(model, str) else model
    check_class(make)
    apart = tuple(name for name in (*context, weights, *drop) if name is not None)
    both = sorted(set(columns).intersection(apart))
    if both:
        raise ValueError(f"column {both[0]!r} cannot be learned and also be context, weights or dropped. Name it once.")
    reading = {name: changes.pop(name) for name in READING if name in changes}
    every = read_table(path, reading.get("header"))
    with naming(path):
        every.check_names((*columns, *apart))
    learned = tuple(columns or (name for name in every.names if name not in apart))
    source = TableSource(str(path), learned, tuple(context), weights, seed=changes.get("seed", 0), **reading)
    found = source.table()
    places = _places(learned, supports or {})
    with naming(path):
        found.check(source.used)
        _check_supports(found, learned, places)
    config = make(features=len(learned), context=len(context), supports=places)
    with torch.device("meta"):
        codec = codec_of(config.build())
    held_out = 0 if isinstance(source.validation, str) else source.validation
    training = len(found) - round(held_out * len(found))
    objective = config.objective or MaximumLikelihood()
    plan = plan_for(training, **{**objective.plan, **changes})
    return Recipe(data=source, model=config, codec=codec, objective=objective, train=plan)


def _places(learned: Sequence[str], supports: Mapping[str, Support]) -> tuple[Support, ...]:
    """The support of each column, or nothing where all are the real line."""
    for name in supports:
        if name not in learned:
            raise ValueError(f"a support is of a column that is learned ({', '.join(learned)}); got {name!r}.")
    return tuple(supports.get(name, Interval()) for name in learned) if supports else ()


def _check_supports(found: Table, learned: Sequence[str], places: Sequence[Support]) -> None:
    """Raise ValueError where values lie outside of their columns' supports."""
    for name, support in zip(learned, places, strict=True) if places else ():
        values = torch.from_numpy(found.take([name]))
        whole = isinstance(support, Integers)
        wrong = ProductSupport((support,), (1,)).outside(values + 0.5 if whole else values)
        rows = (wrong | (values != values.floor()) if whole else wrong).flatten().nonzero().flatten().tolist()
        if rows:
            raise ValueError(
                f"column {name!r} is {values[rows[0], 0]:g} at {found.at(rows[0])}{others(len(rows) - 1)}, outside of "
                f"{support}. Correct --supports, or leave such rows out."
            )


def read_supports(words: Sequence[str]) -> dict[str, Support]:
    """Supports of columns, from COLUMN=KIND:LOW:HIGH; an end may be empty.

    >>> read_supports(["mass=interval:0:", "jets=integers:0:9"])
    {'mass': Interval(low=0.0, high=None), 'jets': Integers(low=0, high=9)}
    """
    found: dict[str, Support] = {}
    for word in words:
        name, _, place = word.rpartition("=")
        kind, *ends = place.split(":")
        if not name or kind not in SUPPORTS or len(ends) != 2:
            raise ValueError(
                f"a support is COLUMN=KIND:LOW:HIGH, of a kind ({', '.join(SUPPORTS)}), as mass=interval:0: for "
                f"positive numbers; got {word!r}."
            )
        if name in found:
            raise ValueError(f"column {name!r} has one support; got {word!r} beside {found[name]}.")
        make, number = SUPPORTS[kind]
        found[name] = make(**{end: number(text) for end, text in zip(("low", "high"), ends, strict=True) if text})
    return found

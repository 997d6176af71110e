"""Training on a table: the options of `pushforward train --data table.csv`."""

# no `from __future__ import annotations`: the parser needs annotations as objects, not strings

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_type_hints

import tyro

from pushforward.cli.words import with_words

OF_THE_TABLE = ("features", "context", "classes", "supports")  # fields of a model that the table says

HELP = """Fit a flow to a table of numbers: `pushforward train --data table.csv --out DIR`.

Args:
    data: Text such as .csv, .tsv or .csv.gz, or .parquet, .npz, .npy: see docs/data.md.
    out: The run folder; an existing run is continued.
    model: Its options, --model.NAME, are those of the model that --model WORD chooses: {words}.
    device: cpu, cuda, mps, or auto.
    boards: Also log for TensorBoard, or at Weights & Biases.
"""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table. Those learned are events, on the real line where no support is given."""

    columns: tuple[str, ...] = ()  # Columns to learn; by default all that are not named in the next three.
    drop: tuple[str, ...] = ()  # Columns to leave out.
    context: tuple[str, ...] = ()  # Columns that the events are conditioned on.
    weights: str | None = None  # The column of weights.
    # Supports of columns, COLUMN=KIND:LOW:HIGH; integers include both ends: mass=interval:0: for positive numbers,
    # phi=circle:0:360, jets=integers:0:9.
    supports: tuple[str, ...] = ()
    missing: Literal["refuse", "drop"] = "refuse"  # Rows that lack a value: refuse the table, or leave them out.
    header: bool | None = None  # Whether the first row of a text file is of names; None finds out.
    held_out: float | str = 0.1  # Rows to hold out: a share of all, 5,000 at most, or another table's path.


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the flow is trained. What is not given suits the number of rows."""

    steps: int | None = None  # The maximum: training stops when held-out rows stop improving.
    minutes: float | None = None  # Make as many steps as take so long here; their number is then fixed in the run.
    lr: float | None = None  # The learning rate at the top of its schedule.
    batch: int | None = None  # Rows a step.
    seed: int = 0  # Of the weights, the order, and the rows held out.


def train_on_table(arguments: Sequence[str], trained: Callable[..., str | None]) -> str | None:
    """Parse the arguments, make the recipe, and train by it."""
    from pushforward.models import BY_WORD
    from pushforward.recipes.tables import read_supports, table

    word, arguments = _model_word(arguments)
    config, arguments = with_words(BY_WORD[word](features=2), list(arguments))
    options = _options(config)

    def command(
        data: Path,
        out: Path,
        columns: tyro.conf.OmitArgPrefixes[Columns] = Columns(),
        model: options = options(),  # pyright: ignore[reportInvalidTypeForm]  # noqa: B008
        training: tyro.conf.OmitArgPrefixes[Training] = Training(),
        device: str = "auto",
        boards: tuple[Literal["tensorboard", "wandb"], ...] = (),
    ) -> str | None:
        named: dict[str, Any] = {f.name: getattr(columns, f.name) for f in fields(columns)}
        named |= {"supports": read_supports(columns.supports), "validation": named.pop("held_out")}
        make = partial(BY_WORD[word], **{f.name: getattr(model, f.name) for f in fields(model)})
        plan = {name: value for name, value in vars(training).items() if value is not None}
        minutes = plan.pop("minutes", None)
        recipe = table(data, **named, model=make, **plan)
        _tell_of_an_index(recipe.data)
        return trained(recipe, out, device, boards=boards, minutes=minutes)

    command.__doc__ = HELP.format(words=", ".join(BY_WORD))
    return tyro.cli(command, args=arguments, prog="pushforward train")


def help_on_tables() -> str:
    """What `pushforward train --data FILE --help` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        train_on_table(["--help"], lambda *_, **__: None)
    return printed.getvalue()


def _model_word(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The value of --model, and the other arguments."""
    from pushforward.models import BY_WORD
    from pushforward.recipe import nearest

    others, pending, word = [], iter(arguments), "autoregressive-nsf"
    for argument in pending:
        option, _, value = argument.partition("=")
        if option == "--model":
            word = value or next(pending, "")
        else:
            others.append(argument)
    if word not in BY_WORD:
        raise ValueError(f"there is no model {word!r} of tables{nearest(word, set(BY_WORD))}")
    return word, others


def _options(config: Any) -> type:
    """A dataclass of a model's fields, other than those that the table says; its defaults are the configuration's."""
    types = get_type_hints(type(config))
    chosen = [f for f in fields(config) if f.name not in OF_THE_TABLE]
    listed = [(f.name, types[f.name], field(default=getattr(config, f.name))) for f in chosen]
    return make_dataclass(type(config).__name__, listed, frozen=True, kw_only=True)


def _tell_of_an_index(source: Any) -> None:
    """Say on stderr that an index is left out, where the file has one that is not named."""
    from pushforward.data.tables import read_table

    left = [name for name in read_table(source.path, source.header).index if name not in source.used]
    if left:
        print(f"left out as an index: {', '.join(map(repr, left))}", file=sys.stderr)

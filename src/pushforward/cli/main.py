"""The command line: `pushforward COMMAND`."""

# no `from __future__ import annotations`: the parser needs annotations as objects, not strings

import inspect
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

COMMANDS = ("sample", "evaluate", "denoise", "classify", "check", "edit", "interpolate", "inpaint")  # of a run

TRAIN_ARGUMENTS = """Args:
    out: The run folder; an existing run is continued.
    device: cpu, cuda, mps, or auto.
    tensorboard: Also log for TensorBoard.
    minutes: Make as many steps as take so long here, in place of train.steps; their number is then fixed in the run.
    pictures: Draw samples at each evaluation, into the folder pictures of the run.
"""

TABLE_HELP = """Fit a flow to a table of numbers: `pushforward train --data table.csv --out DIR`.

Args:
    data: A .csv, .parquet or .npz file.
    out: The run folder; an existing run is continued.
    model: The model; circularnsf takes circles.
    steps: The maximum; by default it suits the number of rows.
    seed: Of the weights, the order, and the rows held out.
    device: cpu, cuda, mps, or auto.
"""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table. Those not named here are events on the real line."""

    context: tuple[str, ...] = ()  # Columns that the events are conditioned on.
    weights: str | None = None  # The column of weights.
    # Supports of columns, COLUMN=KIND:LOW:HIGH; integers include both ends: mass=interval:0: for positive numbers,
    # phi=circle:0:360, jets=integers:0:9.
    supports: tuple[str, ...] = ()


def demo(out: Path = Path("runs/demo"), effort: float = 1.0, device: str = "auto") -> None:
    """Train a TarFlow on handwritten digits, in a few minutes on two CPU cores.

    It leaves a run, which every other command takes, with demo.png: digits from the data, and samples raw, denoised,
    and guided by class. It prints bits/dim and more. The same command again continues the run.

    Args:
        out: The run folder.
        effort: What to multiply the number of training steps by: 0.1 for a quick look.
        device: cpu, cuda, mps, or auto.
    """
    import pushforward.demo

    pushforward.demo.demo(out, effort, device=device)


def recipes() -> str:
    """List the recipes, each with its command, its cost and the result to expect."""
    from pushforward.recipes import RECIPES

    return "\n\n".join(f"{name}\n{inspect.getdoc(recipe)}" for name, recipe in RECIPES.items())


def build() -> str:
    """Compile the CPU kernels now. Otherwise each is compiled on first use, which takes some seconds."""
    from pushforward.kernels.build import build

    found = build()
    lost = [name for name, path in found.items() if path is None]
    if lost:
        raise RuntimeError(f"{', '.join(lost)} could not be built; tensor operations compute the same, more slowly.")
    return "\n".join(f"{name}: {path}" for name, path in found.items())


def train(*arguments: str) -> str | None:
    """Train by a recipe: `pushforward train RECIPE --out DIR`. The same command again continues the run.

    Every field of a recipe is an option by its dotted name: `pushforward train RECIPE --help` lists them.
    Without a recipe, fit a flow to a table of numbers: `pushforward train --data table.csv --out DIR`.
    """
    from pushforward.recipe import nearest
    from pushforward.recipes import RECIPES

    if arguments[:1] in ((), ("-h",), ("--help",)):
        return f"{inspect.getdoc(globals()['train'])}\n\n{recipes()}"
    if arguments[0].startswith("--"):
        return _train_on_table(arguments)
    name, *rest = arguments
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}{nearest(name, set(RECIPES))}")
    return _train_by(name, [_spelt_out(word) for word in rest])


def _spelt_out(word: str) -> str:
    """An option by its dotted name, where it has a short one."""
    option, given, value = word.partition("=")
    return {"--data": "--data.name", "--held-out": "--data.validation"}.get(option, option) + given + value


def _train_by(name: str, arguments: list[str]) -> str | None:
    """Train by a named recipe, with its fields overridden."""
    import tyro

    from pushforward.recipe import Recipe
    from pushforward.recipes import RECIPES

    model, arguments = with_words(RECIPES[name]().model, arguments)

    def command(
        out: Path,
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = replace(RECIPES[name](), model=model),  # noqa: B008 - read at once
        device: str = "auto",
        tensorboard: bool = False,
        minutes: float | None = None,
        pictures: bool = False,
    ) -> str | None:
        options = {"tensorboard": tensorboard, "minutes": minutes, "pictures": pictures}
        return _trained(recipe, out, device, **options)

    command.__doc__ = f"{inspect.getdoc(RECIPES[name])}\n\n{TRAIN_ARGUMENTS}"
    return tyro.cli(command, args=arguments, prog=f"pushforward train {name}")


def with_words(model: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """The model with the fields that arguments set by a word (`--model.permutation shuffle`), and other arguments."""
    others, pending = [], iter(arguments)
    for argument in pending:
        option, _, word = argument.partition("=")
        field = option.removeprefix("--model.")
        if field != option and field in model.words:
            model = replace(model, **{field: word or next(pending, "")})
        else:
            others.append(argument)
    return model, others


def _train_on_table(arguments: tuple[str, ...]) -> str | None:
    """Train by the recipe for a table."""
    import tyro

    from pushforward.models import BY_WORD
    from pushforward.recipes.tables import read_supports, table

    def command(
        data: Path,
        out: Path,
        columns: Columns = Columns(),  # noqa: B008 - read at once
        model: tyro.extras.literal_type_from_choices(BY_WORD) = "autoregressive-nsf",  # pyright: ignore[reportInvalidTypeForm]
        steps: int | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> str | None:
        named = {"context": columns.context, "weights": columns.weights, "supports": read_supports(columns.supports)}
        return _trained(table(data, **named, model=model, steps=steps, seed=seed), out, device)

    command.__doc__ = TABLE_HELP
    return tyro.cli(command, args=arguments, prog="pushforward train", config=(tyro.conf.OmitArgPrefixes,))


def _trained(recipe: object, out: Path, device: str, **options: Any) -> str | None:
    """Train, and return the text of the result, if there is one."""
    from pushforward.runs import read_results, train

    train(recipe, out, device=device, **options)  # pyright: ignore[reportArgumentType]
    return read_results(out).get("training", {}).get("text")


def main() -> None:
    import tyro

    from pushforward import runs
    from pushforward.version import __version__

    known = {name: getattr(runs, name) for name in COMMANDS}
    known = {"recipes": recipes, "train": train, **known, "demo": demo, "build": build}
    try:
        if sys.argv[1:] == ["--version"]:
            answer = __version__
        elif sys.argv[1:2] == ["train"]:
            answer = train(*sys.argv[2:])
        else:
            config = (tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes)
            answer = tyro.extras.subcommand_cli_from_dict(
                known, prog="pushforward", description="Normalizing flows.", config=config
            )
    except KeyboardInterrupt as interrupted:
        print(f"pushforward: {interrupted}" if str(interrupted) else "pushforward: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError, RuntimeError, ArithmeticError, ModuleNotFoundError) as error:
        sys.exit(f"pushforward: {error}")
    if isinstance(answer, dict):
        answer = "\n".join(f"{name}: {value}" for name, value in answer.items())
    if answer is not None:
        print(answer)

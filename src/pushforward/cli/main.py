"""The command line: `pushforward COMMAND`."""

# without `from __future__ import annotations`: the parser reads annotations that name what a function imports

import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any


def demo(out: Path = Path("runs/demo"), effort: float = 1.0) -> None:
    """Train a TarFlow on handwritten digits and show what it can do, in a few minutes on two CPU cores.

    Writes demo.png: digits from the data, and samples raw, denoised, and guided by class. Prints bits/dim and more.

    Args:
        out: The folder to write into.
        effort: What to multiply the number of training steps by: 0.1 for a quick look.
    """
    import pushforward.demo

    pushforward.demo.demo(out, effort)


def recipes() -> str:
    """List the recipes: what each is for, its command, its cost and the number to expect."""
    from pushforward.recipes import RECIPES

    return "\n\n".join(f"{name}\n{inspect.getdoc(recipe)}" for name, recipe in RECIPES.items())


def train(*arguments: str) -> str | None:
    """Train by a recipe: `pushforward train RECIPE --out DIR`; the same command again goes on.

    Every field of a recipe can be overridden by its dotted name: `pushforward train RECIPE --help` lists them.
    Without a recipe, fit a flow to a table of numbers: `pushforward train --data table.csv --out DIR`.
    """
    import tyro

    from pushforward.cli import learn
    from pushforward.recipe import Recipe, nearest
    from pushforward.recipes import RECIPES
    from pushforward.run import train

    if arguments[:1] in ((), ("-h",), ("--help",)):
        return f"{inspect.getdoc(globals()['train'])}\n\n{recipes()}"
    if arguments[0].startswith("--"):
        return str(tyro.cli(learn, args=arguments, prog="pushforward train", config=(tyro.conf.OmitArgPrefixes,)))
    name, *rest = arguments
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}{nearest(name, set(RECIPES))}")
    model, rest = with_words(RECIPES[name]().model, rest)

    def command(
        out: Path,
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = replace(RECIPES[name](), model=model),  # noqa: B008 - read at once
        device: str = "auto",
        tensorboard: bool = False,
    ) -> None:
        train(recipe, out, device=device, tensorboard=tensorboard)

    command.__doc__ = f"{inspect.getdoc(RECIPES[name])}\n\n{TRAIN_ARGUMENTS}"
    return tyro.cli(command, args=rest, prog=f"pushforward train {name}")


def with_words(model: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """The model, with what arguments set by a word (`--model.permutation shuffle`), and the other arguments."""
    others, pending = [], iter(arguments)
    for argument in pending:
        option, _, word = argument.partition("=")
        field = option.removeprefix("--model.")
        if field != option and field in model.words:
            model = replace(model, **{field: word or next(pending, "")})
        else:
            others.append(argument)
    return model, others


COMMANDS = ("sample", "evaluate", "denoise", "classify", "check", "edit", "interpolate", "inpaint")  # of a run

TRAIN_ARGUMENTS = """Args:
    out: The run folder: made, or gone on with.
    device: cpu, cuda, mps, or auto.
    tensorboard: Log for TensorBoard too.
"""


def main() -> None:
    import tyro

    from pushforward import cli
    from pushforward.version import __version__

    known = {name: getattr(cli, name) for name in COMMANDS}
    known = {"recipes": recipes, "train": train, **known, "demo": demo}
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
    except (ValueError, OSError, RuntimeError, ArithmeticError, ModuleNotFoundError) as error:
        sys.exit(f"pushforward: {error}")
    if isinstance(answer, dict):
        answer = "\n".join(f"{name}: {value}" for name, value in answer.items())
    if answer is not None:
        print(answer)

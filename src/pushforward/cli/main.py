"""The command line: `pushforward COMMAND`."""

# no `from __future__ import annotations`: the parser needs annotations as objects, not strings

import inspect
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pushforward.cli.tables import help_on_tables, train_on_table
from pushforward.cli.words import with_words

COMMANDS = (
    "sample",
    "caption",
    "score",
    "evaluate",
    "denoise",
    "classify",
    "check",
    "plot",
    "edit",
    "interpolate",
    "inpaint",
)  # of a run

TRAIN_ARGUMENTS = """Args:
    out: The run folder; an existing run is continued.
    device: cpu, cuda, mps, or auto.
    boards: Also log for TensorBoard, or at Weights & Biases.
    minutes: Make as many steps as take so long here, in place of train.steps; their number is then fixed in the run.
    pictures: Draw samples at each evaluation, into the folder pictures of the run.
"""


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


def explore(runs: tyro.conf.Positional[tuple[str, ...]] = (), port: int = 8642, browser: bool = True) -> None:
    """See flows at work, in the browser: `pushforward explore`, `pushforward explore runs/digits --port 8000`.

    A flow of two features is a plane, whose point is dragged in data and latents at once; a flow of images a gallery,
    each image encoded and decoded. Only this machine can reach the page.

    Args:
        runs: Run folders; by default the flows that come with the package.
        port: Of the page; 0 for a free one.
        browser: Open the page in the browser.
    """
    from pushforward.explore import serve

    serve(runs, port, browser)


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
        return f"{inspect.getdoc(globals()['train'])}\n\n{recipes()}\n\n{help_on_tables()}"
    if arguments[0].startswith("--"):
        return train_on_table(arguments, _trained)
    name, *rest = arguments
    if name not in RECIPES and Path(name).exists():
        raise ValueError(f"{name} is no recipe. For a table: pushforward train --data {name} --out DIR")
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}{nearest(name, set(RECIPES))}")
    place = RECIPES[name]().data.place
    return _train_by(name, [_spelt_out(word, place) for word in rest])


def _spelt_out(word: str, place: str) -> str:
    """An option by its dotted name, where it has a short one; the data's place is this field."""
    option, given, value = word.partition("=")
    return {"--data": f"--data.{place}", "--held-out": "--data.validation"}.get(option, option) + given + value


def _train_by(name: str, arguments: list[str]) -> str | None:
    """Train by a named recipe, with its fields overridden."""
    from pushforward.recipe import Recipe
    from pushforward.recipes import RECIPES

    model, arguments = with_words(RECIPES[name]().model, arguments)

    def command(
        out: Path,
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = replace(RECIPES[name](), model=model),  # noqa: B008 - read at once
        device: str = "auto",
        boards: tuple[Literal["tensorboard", "wandb"], ...] = (),
        minutes: float | None = None,
        pictures: bool = False,
    ) -> str | None:
        options = {"boards": boards, "minutes": minutes, "pictures": pictures}
        return _trained(recipe, out, device, **options)

    command.__doc__ = f"{inspect.getdoc(RECIPES[name])}\n\n{TRAIN_ARGUMENTS}"
    config = (tyro.conf.AvoidSubcommands,)  # what is None stays so
    return tyro.cli(command, args=arguments, prog=f"pushforward train {name}", config=config)


def _trained(recipe: object, out: Path, device: str, **options: Any) -> str | None:
    """Train, and return the text of the result, if there is one."""
    from pushforward.runs import read_results, train

    train(recipe, out, device=device, **options)  # pyright: ignore[reportArgumentType]
    return read_results(out).get("training", {}).get("text")


def main() -> None:
    from pushforward import runs
    from pushforward.compression import files
    from pushforward.version import __version__

    known = {name: getattr(runs, name) for name in COMMANDS}
    known |= {"compress": files.compress, "decompress": files.decompress, "explore": explore}
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

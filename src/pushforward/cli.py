"""The command line: `pushforward COMMAND`."""

# without `from __future__ import annotations`: the parser reads annotations that name what a function imports
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated


def demo(out: Path = Path("runs/demo"), effort: float = 1.0) -> None:
    """Train a TarFlow on handwritten digits and show what it can do, in a few minutes on two CPU cores.

    Writes demo.png: digits from the data, and samples raw, denoised, and guided by class. Prints bits/dim and more.

    Args:
        out: The folder to write into.
        effort: What to multiply the number of training steps by: 0.1 for a quick look.
    """
    import pushforward.demo

    pushforward.demo.demo(out, effort)


def recipes() -> None:
    """List the recipes, and what each is for."""
    from pushforward.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name}\n    {inspect.getdoc(recipe)}\n".replace("\n\n    ", "\n    "))


def train(arguments: Sequence[str]) -> None:
    """Train by a recipe: `pushforward train RECIPE --out DIR`; the same command again goes on.

    Every field of the recipe can be overridden by its dotted name.
    """
    import tyro

    from pushforward.recipe import Recipe, nearest
    from pushforward.recipes import RECIPES
    from pushforward.run import train

    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(f"usage: pushforward train RECIPE --out DIR [--FIELD VALUE …]\n\n{inspect.getdoc(globals()['train'])}\n")
        print(f"recipes: {', '.join(RECIPES)}\nfields: pushforward train RECIPE --help")
        return
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}{nearest(name, set(RECIPES))}")
    recipe = RECIPES[name]

    def command(
        out: Path,
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = recipe(),
        device: str = "auto",
        tensorboard: bool = False,
    ) -> None:
        train(recipe, out, device=device, tensorboard=tensorboard)

    command.__doc__ = f"""{inspect.getdoc(recipe)}

        Args:
            out: The run folder: made, or gone on with.
            device: cpu, cuda, mps, or auto.
            tensorboard: Log for TensorBoard too.
        """
    tyro.cli(command, args=arguments[1:], prog=f"pushforward train {name}")


def main() -> None:
    import tyro

    import pushforward

    arguments = sys.argv[1:]
    try:
        if arguments == ["--version"]:
            print(pushforward.__version__)
        elif arguments[:1] == ["train"]:
            train(arguments[1:])
        else:
            commands = {"demo": demo, "recipes": recipes, "train": train}
            tyro.extras.subcommand_cli_from_dict(commands, prog="pushforward", description="Normalizing flows.")
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        sys.exit(f"pushforward: {error}")

"""A run is a folder that needs nothing else to be used or gone on with.

    recipe.json          what it is made of, with the format's number
    model.safetensors    the weights: the average's
    README.md            its model card
    log.jsonl            what training told of itself
    checkpoints/         what training can be taken up from
    results.json         what was measured of it

The first three are a release: they are all that `load` needs.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

from pushforward.evaluation import held_out
from pushforward.files import alone_in, write
from pushforward.flow import Flow
from pushforward.recipe import Recipe, differences, from_json, to_json
from pushforward.training import Checkpoints, Log, minimise, ranks
from pushforward.training.checkpoint import WEIGHTS

RECIPE, RESULTS, CARD = "recipe.json", "results.json", "README.md"

# what may change from one start of a run to the next; all but the first without a trace in the weights
CHANGEABLE = {"train.steps", "train.log_every", "train.checkpoint_every", "train.measure_every"}


def train(recipe: Recipe, out: str | PathLike[str], *, device: str = "auto", tensorboard: bool = False) -> Flow:
    """Train by a recipe in the run folder `out`, and return the flow: the average of those it went through.

    The same call again goes on from the last checkpoint, and ends with the weights of a training that was not
    interrupted. Under torchrun the processes share every batch. `device` is cpu, cuda, mps or auto.
    Raises ValueError where `out` is a run of another recipe, RuntimeError where another process is at work in it.
    """
    folder, place = Path(out), ranks.chosen(device)
    with ranks.joined(place), alone_in(folder) if ranks.rank() == 0 else nullcontext():
        if ranks.rank() == 0:
            _begin(recipe, folder)
        objective, data = recipe.objective().to(place), recipe.training_data()
        test = recipe.images("test") if recipe.train.measure_every else None
        ranks.wait()

        flow = minimise(
            objective,
            data,
            recipe.train,
            checkpoints=Checkpoints(folder),
            log=Log(folder, tensorboard=tensorboard),
        )
    return flow


def load(folder: str | PathLike[str], *, device: str = "cpu") -> Flow:
    """The flow of a run folder, or of one that was released."""
    from safetensors.torch import load_file

    weights = Path(folder) / WEIGHTS
    flow = read_recipe(folder).objective().flow
    if not weights.exists():
        raise FileNotFoundError(f"{weights} is not there: the run has not come to its first checkpoint.")
    flow.load_state_dict(load_file(weights))
    return flow.to(ranks.chosen(device)).eval()


def read_recipe(folder: str | PathLike[str]) -> Recipe:
    path = Path(folder) / RECIPE
    if not path.exists():
        raise FileNotFoundError(f"{folder} is not a run folder: it holds no {RECIPE}.")
    return from_json(path.read_text(), path)


def _begin(recipe: Recipe, folder: Path) -> None:
    """Write the recipe into the folder, or see that the one there is the same."""
    if (folder / RECIPE).exists():
        changed = [d for d in differences(read_recipe(folder), recipe) if d[0] not in CHANGEABLE]
        if changed:
            list_ = "; ".join(f"{name} was {was!r} and is {now!r}" for name, was, now in changed)
            raise ValueError(f"{folder} is a run of another recipe: {list_}. Give another folder, or the same recipe.")
    write(folder / RECIPE, to_json(recipe))

"""A run is a folder that needs nothing else to be used or gone on with.

    recipe.json          what it is made of, with the format's number
    model.safetensors    the weights: the average's
    codec.safetensors    those of the codec, where it has any
    README.md            its model card
    results.json         what was measured of it
    log.jsonl            what training told of itself
    checkpoints/         what training can be taken up from

The first three alone are a release: `load` needs no more.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from pushforward import card
from pushforward.codecs import CodedFlow
from pushforward.data import Arrays
from pushforward.evaluation import held_out_bits
from pushforward.files import alone_in, write
from pushforward.flow import Flow
from pushforward.recipe import Recipe, differences, from_json, to_json
from pushforward.training import Checkpoints, Log, minimise, ranks
from pushforward.training.checkpoint import CODEC, WEIGHTS

RECIPE, RESULTS, CARD = "recipe.json", "results.json", "README.md"
MEASURED = 1000  # held-out images that training looks at now and then

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
        objective, data = recipe.objective().to(place), recipe.training_data()
        test = recipe.images("test") if recipe.train.measure_every else None
        if ranks.rank() == 0:
            _begin(recipe, folder)
        ranks.wait()

        def measure(flow: Flow) -> dict[str, float]:
            if test is None or ranks.rank():
                return {}
            images, labels = test.fetch(range(min(MEASURED, len(test))))
            return {
                "held-out bits/dim": held_out_bits(
                    CodedFlow(flow, objective.codec), Arrays(images, context=labels)
                ).mean
            }

        flow = minimise(
            objective,
            data,
            recipe.train,
            checkpoints=Checkpoints(folder),
            log=Log(folder, tensorboard=tensorboard),
            measure=measure,
        )
        if ranks.rank() == 0:
            _write_card(folder)
    return flow


def load(folder: str | PathLike[str], *, device: str = "cpu") -> Flow:
    """The flow of a run folder, or of a release."""
    return load_coded(folder, device=device).flow


def load_coded(folder: str | PathLike[str], *, device: str = "cpu") -> CodedFlow:
    """The flow of a run folder, or of a release, with the codec that it learned with."""
    objective, folder = read_recipe(folder).objective(), Path(folder)
    _read_weights(objective.flow, folder, WEIGHTS)
    if isinstance(objective.codec, nn.Module):
        _read_weights(objective.codec, folder, CODEC)
    objective.to(ranks.chosen(device)).eval()
    return CodedFlow(objective.flow, objective.codec)


def _read_weights(module: nn.Module, folder: Path, name: str) -> None:
    from safetensors.torch import load_file

    path = folder / name
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: the run has not come to its first checkpoint.")
    try:
        module.load_state_dict(load_file(path))
    except Exception as error:
        raise ValueError(f"{path} does not hold the weights of {folder / RECIPE}: {error}") from None


def read_recipe(folder: str | PathLike[str]) -> Recipe:
    path = Path(folder) / RECIPE
    if not path.exists():
        raise FileNotFoundError(f"{folder} is not a run folder: it holds no {RECIPE}.")
    return from_json(path.read_text(), path)


def note(folder: str | PathLike[str], results: dict[str, Any]) -> None:
    """Add to what is known of a run: to results.json, and to its model card."""
    path = Path(folder) / RESULTS
    known = json.loads(path.read_text()) if path.exists() else {}
    write(path, json.dumps({**known, **results}, indent=2) + "\n")
    _write_card(Path(folder))


def _write_card(folder: Path) -> None:
    results = folder / RESULTS
    known = json.loads(results.read_text()) if results.exists() else {}
    log = Log(folder).read()
    write(folder / CARD, card.text(read_recipe(folder), log[-1] if log else {}, known))


def _begin(recipe: Recipe, folder: Path) -> None:
    """Write the recipe into the folder, or see that the one there is the same."""
    if (folder / RECIPE).exists():
        changed = [d for d in differences(read_recipe(folder), recipe) if d[0] not in CHANGEABLE]
        if changed:
            told = "; ".join(f"{name} was {was!r} and is {now!r}" for name, was, now in changed)
            raise ValueError(f"{folder} is a run of another recipe: {told}. Give another folder, or the same recipe.")
    write(folder / RECIPE, to_json(recipe))

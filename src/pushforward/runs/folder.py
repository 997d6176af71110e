"""A run is a folder. It holds all that is needed to use it, and to continue its training.

    recipe.json          the recipe, with the number of the format
    model.safetensors    the weights so far
    codec.safetensors    the weights of the codec, where it has any
    README.md            the model card
    results.json         the results of training and evaluation
    log.jsonl            losses and gradient norms
    checkpoints/         from which training resumes

`load` needs only the first three, a release. Recipes and weights of older formats can be read too.

Some releases come with the package: "pretrained:NAME" stands for their folders wherever a run is given. Nothing is
written into these.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pushforward.codecs import CodedFlow
from pushforward.data.data import naming
from pushforward.files import write
from pushforward.flow import Flow
from pushforward.migrations import existing, renamed
from pushforward.models.vector import GaussianWarning
from pushforward.recipe import Recipe, from_json
from pushforward.runs import card
from pushforward.training import Log, ranks
from pushforward.training.checkpoint import CODEC, WEIGHTS

RECIPE, RESULTS, CARD = "recipe.json", "results.json", "README.md"
PRETRAINED, SHIPPED = "pretrained:", Path(__file__).parents[1] / "weights"


def folder_of(run: str | PathLike[str]) -> Path:
    """The folder of a run: `run` itself, or that of the release "pretrained:NAME". Raises ValueError without one."""
    if not str(run).startswith(PRETRAINED):
        return Path(run)
    name, known = str(run).removeprefix(PRETRAINED), sorted(folder.name for folder in SHIPPED.iterdir())
    if name not in known:
        raise ValueError(f"the weights that come with the package are {', '.join(known)}; got {name!r}.")
    return SHIPPED / name


def load(folder: str | PathLike[str], *, device: str = "cpu") -> Flow:
    """The flow of a run folder, or of a release. Of a run on a table, it knows the names of its columns."""
    return load_coded(folder, device=device).flow


def load_coded(folder: str | PathLike[str], *, device: str = "cpu") -> CodedFlow:
    """The flow of a run folder, or of a release, with the codec of its data."""
    place = ranks.chosen(device)
    recipe, folder = read_recipe(folder), folder_of(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaussianWarning)  # which is for who trains it
        objective = recipe.build()
    objective.flow.columns, objective.flow.context_columns = recipe.data.columns, recipe.data.context
    _read_weights(objective.flow, folder / WEIGHTS)
    if isinstance(objective.codec, nn.Module):
        _read_weights(objective.codec, folder / CODEC)
    objective.to(place).eval()
    return CodedFlow(objective.flow, objective.codec)


def read_recipe(folder: str | PathLike[str]) -> Recipe:
    """The recipe of a run folder. Raises FileNotFoundError where it is not one."""
    path = folder_of(folder) / RECIPE
    if not path.exists():
        raise FileNotFoundError(f"{folder} is not a run folder: it holds no {RECIPE}.")
    with naming(path):
        text = path.read_text(encoding="utf-8")
    return from_json(text, path)


def read_results(folder: str | PathLike[str]) -> dict[str, Any]:
    """The results of a run, by name: each has a `text`, and its values."""
    return read_json(folder_of(folder) / RESULTS)


def read_json(path: Path) -> dict[str, Any]:
    """What a file of a run holds; empty where there is none. Raises ValueError, naming it, where it is damaged."""
    with naming(path):
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def note(folder: str | PathLike[str], results: Mapping[str, Any]) -> None:
    """Add results to results.json and to the model card; not of a release that comes with the package.

    A result is a dataclass that prints, or a dict of values with its `text`. Warns where the disk does not take them.
    """
    if folder_of(folder).parent == SHIPPED:
        return
    plain = {
        name: result if isinstance(result, dict) else {**asdict(result), "text": str(result)}
        for name, result in results.items()
    }
    try:
        write(Path(folder) / RESULTS, json.dumps({**read_results(folder), **plain}, indent=2) + "\n")
        write_card(Path(folder))
    except OSError as error:
        warnings.warn(f"{error}: these results are not kept there", RuntimeWarning, stacklevel=3)


def write_card(folder: Path) -> None:
    """Write the model card."""
    log = Log(folder).read()
    write(folder / CARD, card.text(read_recipe(folder), log[-1] if log else {}, read_results(folder)))


def _read_weights(module: nn.Module, path: Path) -> None:
    from safetensors.torch import load_file

    path = existing(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: the run has not written its first checkpoint.")
    try:
        saved = load_file(path)
        dtypes = {tensor.dtype for tensor in saved.values() if tensor.is_floating_point()}
        if len(dtypes) == 1:
            module.to(torch.promote_types(dtypes.pop(), torch.float32))
        names = renamed(saved, known=module.state_dict())
        module.load_state_dict({names[name]: tensor for name, tensor in saved.items()})
    except Exception as error:
        raise ValueError(f"{path} does not fit the model of {path.with_name(RECIPE)}: {error}") from None

"""Saving a flow that no recipe trained as a run."""

from os import PathLike
from pathlib import Path

import torch
from torch import nn

from pushforward.codecs import CodedFlow, codec_of
from pushforward.conditions import Vector
from pushforward.data import ImageSource, Source, TableSource
from pushforward.files import alone_in, write
from pushforward.flow import Flow
from pushforward.models import Model, Parts
from pushforward.recipe import Recipe, to_json
from pushforward.runs.folder import RECIPE, write_card
from pushforward.training import MaximumLikelihood, ObjectiveConfig, Plan
from pushforward.training.checkpoint import WEIGHTS, write_weights


def save(
    flow: Flow | CodedFlow,
    folder: str | PathLike[str],
    *,
    model: Model | None = None,
    data: Source | None = None,
    objective: ObjectiveConfig = MaximumLikelihood(),
) -> None:
    """Write a flow as a run folder, which `load` and every command take: one that was fitted, imported or assembled.

    Args:
        flow: The flow. As a `CodedFlow` it has the codec of its data; else that of its supports, `codec_of(flow)`.
        folder: The run folder, made if it is missing.
        model: What built the flow. Without it the flow is described part by part (`models.Parts`), which only versions
            with the same parts can read.
        data: What it learned. Without it, commands that need data are given `--data`.
        objective: How it was trained: with `condition_dropout`, it knows the density without the class.

    Raises ValueError where the model builds another flow, a part cannot be described, or the folder holds a run.
    """
    coded = flow if isinstance(flow, CodedFlow) else CodedFlow(flow, codec_of(flow))
    flow, folder = coded.flow, Path(folder)
    if isinstance(coded.codec, nn.Module):
        raise ValueError(f"a {type(coded.codec).__name__} has weights: only `train` makes runs of such codecs.")
    made = Recipe(
        data=data or _unknown(flow),
        codec=coded.codec,
        model=Parts.of(flow) if model is None else model,
        objective=objective,
        train=Plan(steps=1),  # a run holds a plan; this one was not followed
    )
    _check_that_it_fits(flow, made.model)
    text = to_json(made)
    with alone_in(folder):
        if (folder / RECIPE).exists():
            raise ValueError(f"{folder} holds a run. Give another folder.")
        write_weights(flow, folder / WEIGHTS)
        write(folder / RECIPE, text)  # a folder without it is no run, and can be saved into again
        write_card(folder)


def _unknown(flow: Flow) -> Source:
    """A source without a place, for events of the flow's kind."""
    if len(flow.event) != 1:
        return ImageSource("")
    features, vector = flow.event[0], flow.conditions.get("vector")
    context = vector.features if isinstance(vector, Vector) else 0
    return TableSource("", tuple(f"x{i}" for i in range(features)), tuple(f"c{i}" for i in range(context)))


def _check_that_it_fits(flow: Flow, model: Model) -> None:
    """Raise ValueError where the model does not build a flow with these weights."""
    with torch.device("meta"):
        built = model.build()
    shapes, others = ({name: t.shape for name, t in f.state_dict().items()} for f in (flow, built))
    if (shapes, tuple(flow.event), flow.conditions) != (others, tuple(built.event), built.conditions):
        raise ValueError(f"{model} does not build this flow. Give the model that built it, or none.")

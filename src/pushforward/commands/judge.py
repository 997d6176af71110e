"""How good a run is, and how exact: likelihoods, the quality of samples, classes, round trips."""

from __future__ import annotations

from dataclasses import asdict
from os import PathLike

import torch
from torch import Tensor

from pushforward.audit import Audit
from pushforward.commands.sample import Sampling, samples
from pushforward.data import Images, find
from pushforward.evaluation import BitsPerDim, Quality, compare, held_out_bits, load_extractor
from pushforward.flow import Flow
from pushforward.lift import Gaussian, Lift, Lifted
from pushforward.run import load, note, read_recipe

Judgement = dict[str, BitsPerDim | Quality]


def evaluate(
    run: str | PathLike[str],
    *,
    samples: int = 1,
    features: str | None = None,
    n: int = 10_000,
    how: Sampling = Sampling(),
    device: str = "auto",
) -> Judgement:
    """bits/dim of the run's held-out images, by `samples` draws of the lift for each; with its labels and without.

    With `features` (efficientnet-lite0, or a TorchScript file) also the quality of n samples, drawn as `how` says,
    against as many held-out images. What is found is noted in the run's results.json and on its model card.
    """
    flow, recipe = load(run, device=device), read_recipe(run)
    images = recipe.images("test")
    lifted = Lifted(flow, recipe.lift)
    found: Judgement = {"held-out": held_out_bits(lifted, images, samples=samples)}
    if flow.classes:
        found["held-out, not told the class"] = held_out_bits(lifted, images, torch.tensor(-1), samples=samples)
    if features:
        found[f"samples, guidance {how.guidance:g}"] = _quality(flow, recipe.lift, images, features, n, how)
    note(run, {name: {"text": str(result), **asdict(result)} for name, result in found.items()})
    return found


def check(run: str | PathLike[str], *, n: int = 64, device: str = "auto") -> dict[str, Audit]:
    """How exact the flow's arithmetic is on n held-out images: in float32, and in float64 where the device has it."""
    flow, recipe = load(run, device=device), read_recipe(run)
    data, labels = recipe.images("test").fetch(range(min(n, len(recipe.images("test")))))
    x = recipe.lift.lift(data)[0].to(flow.device)
    found = {"float32": flow.check(x, labels)}
    if flow.device.type != "mps":
        found["float64"] = flow.double().check(x.double(), labels)
    return found


def classify(run: str | PathLike[str], data: str | None = None, *, device: str = "auto") -> tuple[Tensor, Tensor | None]:
    """The class of each image by Bayes' rule, (n,), and the class it is labelled with, if it is.

    `data` is a name, a file or a folder, as in a recipe; left out, the run's held-out images.
    """
    flow, recipe = load(run, device=device), read_recipe(run)
    images = recipe.images("test") if data is None else find(data, image=tuple(flow.event))
    place = recipe.lift.place if isinstance(recipe.lift, Gaussian) else lambda v: recipe.lift.lift(v)[0]
    guesses = []
    for rows in torch.arange(len(images)).split(64):
        guesses.append(flow.classify(place(images.fetch(rows)[0]).to(flow.device)).cpu())
    labels = images.labels if isinstance(images, Images) else None
    return torch.cat(guesses), labels


def _quality(flow: Flow, lift: Lift, images: Images, features: str, n: int, how: Sampling) -> Quality:
    extract = load_extractor(features, device=flow.device)
    n = min(n, len(images))
    fake = [extract(x) for x, _ in samples(flow, lift, how, start=0, stop=n)]
    real = [extract(_shown(images.fetch(rows)[0], images.levels)) for rows in torch.arange(n).split(how.batch)]
    return compare(torch.cat(real), torch.cat(fake), features=extract.name)


def _shown(images: Tensor, levels: int) -> Tensor:
    """Integers 0 … levels − 1 as floats on [−1, 1], as samples are."""
    return images / (levels - 1) * 2 - 1

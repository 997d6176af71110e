"""How good a run is, and how exact: likelihoods, the quality of samples, classes, round trips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from pushforward.cli.sampling import Sampling, samples
from pushforward.codecs import Codec, GaussianNoise, placed
from pushforward.data import Images
from pushforward.data.columns import read_table
from pushforward.diagnostics import Diagnostics
from pushforward.evaluation import BitsPerDim, Quality, compare, held_out_bits, load_extractor
from pushforward.flow import Flow
from pushforward.recipe import Recipe
from pushforward.run import load_coded, note, read_recipe


@dataclass(frozen=True)
class Classified:
    """Each image's class by Bayes' rule, (n,), and the class it is labelled with, where it is."""

    guesses: Tensor
    labels: Tensor | None

    def __str__(self) -> str:
        if self.labels is None:
            return "\n".join(map(str, self.guesses.tolist()))
        right = (self.guesses == self.labels).double().mean()
        return f"{right:.2%} of {len(self.labels):,} images classified right"


def evaluate(
    run: Path,
    samples: int = 1,
    features: str | None = None,
    n: int = 10_000,
    how: Sampling = Sampling(),
    device: str = "auto",
) -> dict[str, BitsPerDim | Quality]:
    """Measure bits/dim of a run's held-out images, and how good its samples are; noted in its results.json and card.

    Args:
        run: The run folder.
        samples: Draws of the lift for each image: more make a tighter bound.
        features: Judge samples too, by the features of efficientnet-lite0 or of a TorchScript file.
        n: How many samples to judge, against as many held-out images.
        device: cpu, cuda, mps, or auto.
    """
    coded = load_coded(run, device=device)
    flow, images = coded.flow, read_recipe(run).images("test")
    found: dict[str, BitsPerDim | Quality] = {"held-out": held_out_bits(coded, images, samples=samples)}
    if flow.classes:
        found["held-out, not told the class"] = held_out_bits(coded, images, torch.tensor(-1), samples=samples)
    if features:
        found[f"samples, guidance {how.guidance:g}"] = quality(flow, coded.codec, images, features, n, how)
    note(run, {name: {"text": str(result), **asdict(result)} for name, result in found.items()})
    return found


def check(run: Path, n: int = 64, device: str = "auto") -> dict[str, Diagnostics]:
    """Tell how exact a run's arithmetic is, on images or rows: round trips, log-det against autograd.

    Args:
        run: The run folder.
        n: How many images or rows.
        device: cpu, cuda, mps, or auto.
    """
    coded = load_coded(run, device=device)
    flow, (data, given) = coded.flow, _events(read_recipe(run), n)
    x = coded.codec.encode(data, torch.Generator().manual_seed(0))[0].to(flow.device)
    found = {"float32": flow.check(x, given)}
    if flow.device.type != "mps":  # which has no float64
        found["float64"] = flow.double().check(x.double(), given)
    return found


def _events(recipe: Recipe, n: int) -> tuple[Tensor, Tensor | None]:
    """The first n held-out images and their labels, or rows of the table and what they are conditioned on."""
    if recipe.columns:
        table = read_table(Path(recipe.data))
        x, *given = (
            torch.from_numpy(table.take(names)[:n]).float() for names in (recipe.columns, recipe.given) if names
        )
        return x, given[0] if given else None
    images = recipe.images("test")
    return images.fetch(range(min(n, len(images))))


def classify(run: Path, data: str | None = None, device: str = "auto") -> Classified:
    """Tell the class of images by Bayes' rule: a number a line, or the share that is right where that is known.

    Args:
        run: The run folder.
        data: A name, a file or a folder of images; left out, the run's held-out images.
        device: cpu, cuda, mps, or auto.
    """
    coded, recipe = load_coded(run, device=device), read_recipe(run)
    flow, codec = coded.flow, coded.codec
    images = recipe.images("test") if data is None else recipe.images("train", data)
    generator = torch.Generator().manual_seed(0)
    place = codec.place if isinstance(codec, GaussianNoise) else lambda v: codec.encode(v, generator)[0]
    parts = torch.arange(len(images)).split(64)
    guesses = torch.cat([flow.classify(place(images.fetch(rows)[0]).to(flow.device)).cpu() for rows in parts])
    return Classified(guesses, images.labels)


def quality(flow: Flow, codec: Codec, images: Images, features: str, n: int, how: Sampling) -> Quality:
    """How good n samples are against as many of the images."""
    extract = load_extractor(features, device=flow.device)
    n = min(n, len(images))
    fake = [extract(x) for x, _ in samples(flow, codec, how, start=0, stop=n)]
    real = [extract(placed(images.fetch(rows)[0], images.levels)) for rows in torch.arange(n).split(how.batch)]
    return compare(torch.cat(real), torch.cat(fake), features=extract.name)

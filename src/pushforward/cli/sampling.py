"""Samples of a run, as a picture or as a stream of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.cli.tabular import write_table
from pushforward.codecs import Codec, GaussianNoise
from pushforward.evaluation import grid, save_picture
from pushforward.files import replacing, write
from pushforward.flow import Flow
from pushforward.randomness import keyed
from pushforward.run import load_coded, read_recipe

SHARD = 1000  # samples in a file


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How samples are drawn."""

    label: int | None = None  # of all samples, −1 for none; left out: every class in turn
    guidance: float = 0.0  # how far to push away from the null label, or from blunted attention
    attention_temperature: float = 1.0  # of what guidance pushes away from; other than 1 it needs no labels
    temperature: float = 1.0  # of the base's noise
    denoised: bool = True  # by the flow's own score, where it learned images with Gaussian noise
    seed: int = 0
    batch: int = 64

    def __post_init__(self):
        for name, least in (("temperature", 0), ("guidance", 0), ("batch", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(f"sampling needs {name} of at least {least}; got {getattr(self, name)}.")


def samples(
    flow: Flow, codec: Codec, how: Sampling, *, start: int, stop: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Samples number `start` to `stop`, a batch at a time: events (n, *event), and their labels (n,).

    Sample i is drawn with the generator of (seed, i): which others are drawn beside it changes nothing but rounding.
    """
    if how.label is not None and not -1 <= how.label < flow.classes:
        raise ValueError(f"the flow has {flow.classes} classes; got label {how.label}. Give 0 … classes − 1, or −1.")
    guided = flow
    if how.guidance:
        guided = flow.guided(how.guidance, attention_temperature=how.attention_temperature)
    for numbers in torch.arange(start, stop).split(how.batch):
        labels = None
        if flow.classes:
            labels = numbers % flow.classes if how.label is None else torch.full_like(numbers, how.label)
        noise = [keyed(how.seed, number) for number in numbers.tolist()]
        shape = () if flow.classes else (len(numbers),)
        x = guided.sample(shape, labels, temperature=how.temperature, generator=noise)
        if how.denoised and isinstance(codec, GaussianNoise):
            x = flow.denoise(x, codec.sigma, labels)
        yield x, labels


def sample(
    run: Path, out: Path = Path("samples.png"), n: int = 64, how: Sampling = Sampling(), device: str = "auto"
) -> str:
    """Draw samples of a run: `pushforward sample DIR --n 64 --guidance 2 --label 3 --out grid.png`.

    A folder gets files samples-000000.npz, samples-001000.npz … of a thousand each, with `images` of integers and
    `labels`; one file is in memory at a time, and the same command goes on after an interruption.

    Args:
        run: The run folder.
        out: A picture (grid.png), or a folder; a .csv file where the run learned a table.
        n: How many.
        device: cpu, cuda, mps, or auto.
    """
    if n < 1:
        raise ValueError(f"draw one sample at least; got n={n}.")
    coded, recipe, out = load_coded(run, device=device), read_recipe(run), Path(out)
    flow, codec = coded.flow, coded.codec
    if recipe.given:
        raise ValueError(
            f"{run} is conditioned on {', '.join(recipe.given)}: give them to pf.load({str(run)!r}).sample."
        )
    if recipe.columns:
        drawn = [row for x, _ in samples(flow, codec, how, start=0, stop=n) for row in codec.decode(x).tolist()]
        write_table(recipe.columns, drawn, out)
    elif out.suffix:
        drawn = torch.cat([x.cpu() for x, _ in samples(flow, codec, how, start=0, stop=n)])
        side = flow.classes if flow.classes and how.label is None else round(n**0.5)
        save_picture(grid(drawn, max(1, min(side, n))), out)
    else:
        _to_files(flow, codec, out, n, how)
    return f"{n} samples in {out}"


def _to_files(flow: Flow, codec: Codec, folder: Path, n: int, how: Sampling) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    settings, told = folder / "sampling.json", json.dumps(asdict(how), indent=2) + "\n"
    if settings.exists() and settings.read_text() != told:
        raise ValueError(f"{folder} holds samples that were drawn otherwise, see {settings}. Give another folder.")
    write(settings, told)
    for start in range(0, n, SHARD):
        path, stop = folder / f"samples-{start:06d}.npz", min(n, start + SHARD)
        if path.exists() and len(np.load(path)["images"]) == stop - start:
            continue
        drawn = list(samples(flow, codec, how, start=start, stop=stop))
        arrays = {"images": torch.cat([codec.decode(x).cpu() for x, _ in drawn]).numpy()}
        if flow.classes:
            arrays["labels"] = torch.cat([labels for _, labels in drawn if labels is not None]).numpy()
        with replacing(path) as begun, begun.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]

"""The weights that come with the package: made by recipes, rounded to bfloat16, with cards that say what that costs.

    PUSHFORWARD_DATA=DIR .venv/bin/python -m benchmarks.pretrained runs/pretrained [NAME ...]

Trains them into that folder and writes src/pushforward/weights: all, or those that are named. Trainings that are there
already are used. On one CPU core `moons` and `digits` take a minute and a half each, `pinwheel` one, `fashion` two, and
`emoji` five. The last two read Fashion-MNIST and two packs of emoji in DIR.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import pushforward as pf
from benchmarks import toys
from pushforward.codecs import CodedFlow
from pushforward.data import Attributed, find
from pushforward.data.captions import read_column
from pushforward.data.splits import is_held_out
from pushforward.data.tables import write_table
from pushforward.evaluation import held_out_mean
from pushforward.recipe import Recipe, to_json
from pushforward.runs.data import NOTE, placed, recipe_of
from pushforward.runs.folder import CARD, RECIPE, SHIPPED, load_coded
from pushforward.training.checkpoint import WEIGHTS

ROWS = 10_000  # of a table
SHOWN = {"train": 600, "test": 400}  # images of Fashion-MNIST that come with its weights
PACKED, STRIP = 2000, 600  # training images in the pack of emoji, and images in one of its strips
CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "trainer", "bag", "ankle boot")

CARD_TEXT = """---
license: apache-2.0
library_name: pushforward
pipeline_tag: {task}
tags: [normalizing-flow]
---

# {title}

    flow = pushforward.pretrained("{name}")

| | |
|---|---|
| model | {words}: `{model}` |
| parameters | {parameters:,}, in bfloat16, {size:.2f} MB; they are widened to float32 when they are loaded |
| data | {data} |
| training | `{command}`, {training} |
| held out | {rounded} |
| before rounding to bfloat16 | {before}: rounding costs {cost:+.4f} {unit} |
| accuracy | {accuracy} |

## Limits

{limits} A density alone does not detect inputs unlike the training data.

## Licence

Apache-2.0, as the package. {licence}
"""

TOLD = {
    "moons": {
        "task": "other",
        "title": "A neural spline flow of two moons",
        "words": "MLP × rational-quadratic spline × coupling",
        "data": f"{ROWS:,} points of two half circles with noise, `moons.npz` here, a tenth of them held out",
        "command": "python -m benchmarks.pretrained runs/pretrained",
        "limits": "A toy, for pictures of what a flow does. The entropy of the moons is 2.393 nats.",
        "licence": "The points are computed.",
    },
    "pinwheel": {
        "task": "other",
        "title": "Flow matching of a pinwheel",
        "words": "time-conditioned MLP × its own velocity × continuous",
        "data": f"{ROWS:,} points of five bent arms, `pinwheel.npz` here, a tenth of them held out",
        "command": "python -m benchmarks.pretrained runs/pretrained pinwheel",
        "limits": "A toy, for pictures of what a flow does. The entropy of the pinwheel is 2.318 nats.",
        "licence": "The points are computed.",
    },
    "fashion": {
        "task": "unconditional-image-generation",
        "title": "A small TarFlow of Fashion-MNIST",
        "words": "causal transformer × affine × autoregressive",
        "data": "60,000 pictures of clothes of 28 × 28 pixels, by class; of these 600, and 400 of the 10,000 held-out "
        "ones, are `fashion.npz` here",
        "command": "python -m benchmarks.pretrained runs/pretrained fashion",
        "limits": "It was trained for two minutes, and samples are rough. Bits/dim are upper bounds, with Gaussian "
        "noise of 0.1 on [−1, 1] and the class given.",
        "licence": "The pictures are of Fashion-MNIST, by Xiao, Rasul and Vollgraf, arXiv:1708.07747, copyright "
        "Zalando SE, MIT.",
    },
    "emoji": {
        "task": "unconditional-image-generation",
        "title": "A small Glow of emoji",
        "words": "convnet × affine × coupling",
        "data": "3,345 emoji of 24 × 24 pixels and 32 levels a colour, and their mirror images; 418 others are held "
        f"out, all of a caption; `emoji.npz` here has {PACKED:,} of the former, all of the latter, and their captions",
        "command": "pushforward train emoji_glow --out runs/pretrained/emoji",
        "limits": "It was trained for minutes, for edits along attributes; its samples are blots, and far edits "
        "may overflow. Bits/dim are of 5-bit colours, with uniform dequantization.",
        "licence": "The pictures are Noto Emoji, copyright Google, Apache-2.0, and Fluent Emoji, copyright Microsoft, "
        "MIT; captions and keywords are of emojibase, copyright Miles Johnson, MIT.",
    },
    "digits": {
        "task": "unconditional-image-generation",
        "title": "A TarFlow of handwritten digits",
        "words": "causal transformer × affine × autoregressive",
        "data": "1,437 digits of 8 × 8 pixels and 17 grey levels, by class; 360 others are held out",
        "command": "pushforward train digits --out runs/digits",
        "limits": "There are few digits, and samples may reproduce some. Bits/dim are upper bounds, with "
        "Gaussian noise of 0.1 on [−1, 1] and the class given.",
        "licence": "The digits are of the UCI repository, doi:10.24432/C50P49, by Alpaydin and Kaynak, CC BY 4.0.",
    },
}


def moons(folder: Path) -> Recipe:
    """The recipe of a table, whose file is made first."""
    model = partial(pf.models.NSF, transforms=4, hidden=(64, 64))
    return pf.recipes.table(_points(toys.moons, folder), model=model, steps=2000, batch=256)


def pinwheel(folder: Path) -> Recipe:
    """The recipe of a table, whose file is made first."""
    return pf.recipes.table(_points(toys.pinwheel, folder), model=pf.models.FlowMatching, steps=8000, batch=256)


def digits(_: Path) -> Recipe:
    return pf.recipes.digits()


def fashion(_: Path) -> Recipe:
    """The recipe of Fashion-MNIST with a smaller model, in two minutes of one core."""
    recipe = pf.recipes.fashion_mnist()
    plan = replace(
        recipe.train, steps=700, batch=32, warmup=50, average_decay=0.995, precision="float32", measure_every=0
    )
    return replace(recipe, model=replace(recipe.model, width=96, depth=2), train=plan)


def emoji(_: Path) -> Recipe:
    return pf.recipes.emoji_glow()


def _points(make: Callable[..., np.ndarray], folder: Path) -> Path:
    """A file of points."""
    points = make(ROWS, np.random.default_rng(0)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{make.__name__}.npz"
    write_table(dict(zip("xy", points.T, strict=True)), path)
    return path


def release(run: Path, name: str) -> None:
    """Write the release of a run: recipe, weights in bfloat16, card."""
    folder = SHIPPED / name
    pf.hub.save_pretrained(run, folder)
    weights = load_file(run / WEIGHTS)
    save_file({k: t.bfloat16() if t.is_floating_point() else t for k, t in weights.items()}, folder / WEIGHTS)
    _bring_data(run, folder)
    recipe, before, coded = recipe_of(folder), load_coded(run), load_coded(folder)
    rows = recipe.held_out_data()
    exact, rounded = (held_out_mean(c, rows) for c in (before, coded))
    events, context = rows.fetch(range(16))
    held = f"{rounded.mean:.4f} ± {rounded.standard_error:.4f} {rounded.unit}"
    text = CARD_TEXT.format(
        name=name,
        model=recipe.model,
        parameters=sum(p.numel() for p in coded.flow.parameters()),
        size=(folder / WEIGHTS).stat().st_size / 1e6,
        training=f"{recipe.train.steps:,} steps of {recipe.train.batch} events at most, torch {torch.__version__}",
        rounded=f"{held}, −log p, mean ± s.e. over {rounded.events:,} events",
        before=f"{exact.mean:.4f} {exact.unit}",
        cost=rounded.mean - exact.mean,
        unit=exact.unit,
        accuracy=_accuracy(coded, events, context),
        **TOLD[name],
    )
    (folder / CARD).write_text(text)
    print(text)


def _bring_data(run: Path, folder: Path) -> None:
    """Write the data of a release that the package does not have: a table, or some of its images."""
    recipe = recipe_of(run)
    if str(recipe.data) == "digits":
        return
    path = folder / f"{folder.name}.npz"
    (folder / RECIPE).write_text(to_json(replace(recipe, data=placed(recipe.data, path.name))))
    if recipe.data.columns:
        path.write_bytes((run.parent / path.name).read_bytes())
    elif isinstance(recipe.data, Attributed):
        np.savez_compressed(path, **_pack(recipe, recipe.data))
    else:
        found = {"classes": np.array(CLASSES)}
        for split, n in SHOWN.items():
            images, labels = find(str(recipe.data), split).fetch(range(n))
            found |= {f"images_{split}": images[:, 0].numpy(), f"labels_{split}": labels.numpy().astype(np.uint8)}
        np.savez_compressed(path, **found)
        (folder / NOTE).write_text(json.dumps({"classes": CLASSES}, ensure_ascii=False) + "\n")


def _pack(recipe: Recipe, source: Attributed) -> dict[str, np.ndarray]:
    """A pack of some training images and all held-out ones, with the size and the colours that the flow learned."""
    takes, parts = recipe.takes(), []
    told = np.array([read_column(source.packs, name) for name in ("caption", "keywords")])
    away = np.array([is_held_out(caption) for caption in told[0]])
    for held_out, n in ((False, PACKED), (True, None)):
        images = source.images(takes, held_out=held_out).images.numpy()
        rows = np.random.default_rng(0).permutation(len(images))[:n]
        parts.append((images[rows] * (256 // takes.levels), told[:, away == held_out][:, rows]))
    pixels = np.concatenate([images for images, _ in parts])
    caption, keywords = np.concatenate([words for _, words in parts], 1)
    strips = []
    for k in range(0, len(pixels), STRIP):
        written, strip = io.BytesIO(), pixels[k : k + STRIP].transpose(0, 2, 3, 1)
        Image.fromarray(strip.reshape(-1, *strip.shape[2:])).save(written, "WEBP", lossless=True, quality=100, method=6)
        strips.append(np.frombuffer(written.getvalue(), np.uint8))
    return {
        "webp": np.concatenate(strips),
        "offsets": np.cumsum([0, *map(len, strips)]),
        "shape": np.array([len(pixels), *pixels.shape[2:], pixels.shape[1]]),
        "caption": caption,
        "keywords": keywords,
    }


def _accuracy(coded: CodedFlow, events: torch.Tensor, context: torch.Tensor | None) -> str:
    return f"float32, on 16 held-out events: {coded.flow.check(coded.codec.clean(events), context)}"


RECIPES = {make.__name__: make for make in (moons, digits, pinwheel, fashion, emoji)}


def main(runs: Path, names: list[str]) -> None:
    for name in names or RECIPES:
        if not (runs / name / CARD).exists():
            pf.train(RECIPES[name](runs), runs / name, device="cpu")
        release(runs / name, name)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])

"""PUSHFORWARD_DATA=… OMP_NUM_THREADS=1 python benchmarks/emoji2.py RUN PICTURE: a run of the recipe `emoji2`.

Eight held-out captions, each with one of its images: the caption that the run writes of the image, by the most probable
tokens, and the image that it draws of the caption, guided by 2 and denoised. One seed, and no choice among samples.
"""

from __future__ import annotations

import sys

import torch

from pushforward.codecs import placed
from pushforward.data import Document
from pushforward.data.data import evenly_spread
from pushforward.evaluation import document_flow, grid, save_picture, table
from pushforward.guidance import GaussianProduct
from pushforward.randomness import Keyed
from pushforward.runs.documents import held_out_pairs
from pushforward.runs.folder import load_coded, read_recipe

SHOWN, WEIGHT = 8, 2.0


@torch.no_grad()
def main(run: str, out: str) -> None:
    coded, recipe = load_coded(run), read_recipe(run)
    flow, source = document_flow(coded), recipe.data
    images, texts = held_out_pairs(source, recipe.takes())
    rows = evenly_spread(len(images), SHOWN)[:SHOWN]
    images, captions = images[rows], [source.caption(texts[row]) for row in rows]
    x = coded.codec.encode(images, Keyed(0, rows=range(SHOWN)))[0]
    begun = [Document([row, [source.tokenizer.begin]]) for row in x]
    written = [
        source.caption(d.texts[-1]) for d in flow.write_text(begun, end=source.tokenizer.end, most=32, temperature=0)
    ]
    text = source.text(captions)
    drawn = flow.guided(WEIGHT, rule=GaussianProduct()).sample((), text, generator=Keyed(1, rows=range(SHOWN)))
    drawn = coded.codec.decode(coded.denoise(drawn, text))
    cells = {}
    for i in range(SHOWN):
        shown, asked = (grid(placed(picture[i : i + 1], 256), 1) for picture in (images, drawn))
        cells[f"{i + 1}"] = {"image -> caption": (shown, written[i]), "caption -> image": (asked, captions[i])}
    save_picture(table(cells, zoom=2), out)


if __name__ == "__main__":
    main(*sys.argv[1:])

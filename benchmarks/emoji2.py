"""PUSHFORWARD_DATA=… OMP_NUM_THREADS=1 python benchmarks/emoji2.py RUN PICTURE: a run of the recipe `emoji2`.

Eight held-out captions, each with one of its images: the caption that the run writes of the image, by the most probable
tokens, and the image that it draws of the caption, guided by 2 and denoised. One seed, and no choice among samples.
"""

from __future__ import annotations

import sys

import torch
from documents import save_pairs

from pushforward.data.data import evenly_spread
from pushforward.evaluation import document_flow
from pushforward.guidance import GaussianProduct
from pushforward.randomness import Keyed
from pushforward.runs.documents import held_out_pairs, written_captions
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
    written = written_captions(flow, source, x)
    text = source.text(captions)
    drawn = flow.guided(WEIGHT, rule=GaussianProduct()).sample((), text, generator=Keyed(1, rows=range(SHOWN)))
    drawn = coded.codec.decode(coded.denoise(drawn, text))
    save_pairs(images, written, drawn, captions, 2, out)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""python benchmarks/emoji.py RUN PICTURE: a run of the recipe `emoji` on held-out captions, and a picture of prompts.

How often the true caption of a held-out image is the most probable of ten, by log p(x | text); nats a latent element
with the caption and without. The picture has two samples of each prompt in a row, guided by 0, 1, 2 and 4 and denoised,
and the samples guided by 2 with their noise. PUSHFORWARD_DATA names the folder of the data.
"""

from __future__ import annotations

import sys

import torch

from pushforward.evaluation import grid, save_picture
from pushforward.guidance import GaussianProduct
from pushforward.runs.folder import load_coded, read_recipe

OTHERS, BATCH = 9, 100
PROMPTS = (
    "red heart",
    "smiling cat",
    "blue car",
    "green apple",
    "purple flower",
    "fire truck",
    "house at night",
    "crescent moon",
)


@torch.no_grad()
def retrieval(run: str, images: int = 630) -> None:
    coded, source = load_coded(run), read_recipe(run).data
    captions = source.captions(held_out=True)
    data = source.held_out(None)
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:images]
    generator = torch.Generator().manual_seed(1)
    distinct = sorted(set(captions))
    text = source.text(distinct)
    won, given, bare = 0, 0.0, 0.0
    for part in rows.split(BATCH):
        x = coded.codec.encode(data.fetch(part)[0], generator)[0]
        true = torch.tensor([distinct.index(captions[row]) for row in part.tolist()])
        steps = 1 + torch.rand(len(part), len(distinct) - 1, generator=generator).argsort(1)[:, :OTHERS]
        tried = torch.cat([true[:, None], (true[:, None] + steps) % len(distinct)], 1)
        scores = torch.stack([coded.flow.log_prob(x, text[column]) for column in tried.T], 1)
        won += (scores.argmax(1) == 0).sum().item()
        given += scores[:, 0].sum().item()
        bare += coded.flow.log_prob(x, {"text": None}).sum().item()
    each = len(rows) * x[0].numel()
    print(f"{len(rows)} held-out images: the true caption among ten {100 * won / len(rows):.1f} %")
    print(f"nats/dim with the caption {-given / each:.4f}, without {-bare / each:.4f}")


@torch.no_grad()
def picture(run: str, out: str) -> None:
    coded, source = load_coded(run), read_recipe(run).data
    text, rows = source.text(PROMPTS).repeat_interleave(2, 0), []
    for weight in (0.0, 1.0, 2.0, 4.0):
        flow = coded.flow.guided(weight, rule=GaussianProduct()) if weight else coded.flow
        x = flow.sample((), text, generator=torch.Generator().manual_seed(0))
        rows.append(coded.codec.decode(coded.denoise(x, text)))
        if weight == 2:
            noisy = coded.codec.decode(x)
    images = torch.cat([*rows, noisy]).float() / (coded.codec.levels - 1) * 2 - 1
    save_picture(grid(images, 2 * len(PROMPTS)), out)


if __name__ == "__main__":
    retrieval(sys.argv[1])
    picture(*sys.argv[1:])

"""PUSHFORWARD_DATA=… python benchmarks/emoji.py RUN PICTURE: what a run of the recipe `emoji` draws of prompts.

A panel for each prompt. It has two samples in a row, guided by 0, 1, 2 and 4 and denoised; the last row is that of 2
with its noise. Four prompts are captions of the training, four are captions that were held out, and four are neither.
"""

from __future__ import annotations

import sys

import torch

from pushforward.evaluation import captioned, grid, save_picture
from pushforward.guidance import GaussianProduct
from pushforward.runs.folder import load_coded, read_recipe

LEARNED = ("red heart", "green apple", "crescent moon", "taxi")
HELD_OUT = ("white heart", "birthday cake", "fire engine", "peacock")
NEITHER = ("smiling cat", "blue car", "purple flower", "house at night")
WEIGHTS, SHOWN = (0.0, 1.0, 2.0, 4.0), 2.0


@torch.no_grad()
def main(run: str, out: str) -> None:
    coded, source = load_coded(run), read_recipe(run).data
    prompts = (*LEARNED, *HELD_OUT, *NEITHER)
    assert set(LEARNED) <= set(source.captions(held_out=False))
    assert set(HELD_OUT) <= set(source.captions(held_out=True))
    assert not set(NEITHER) & {*source.captions(held_out=False), *source.captions(held_out=True)}
    text, rows = source.text(prompts).repeat_interleave(2, 0), []
    for weight in WEIGHTS:
        flow = coded.flow.guided(weight, rule=GaussianProduct()) if weight else coded.flow
        x = flow.sample((), text, generator=torch.Generator().manual_seed(0))
        rows.append(coded.codec.decode(coded.denoise(x, text)))
        if weight == SHOWN:
            noisy = coded.codec.decode(x)
    images = torch.stack([*rows, noisy]).float() / (coded.codec.levels - 1) * 2 - 1
    panels = images.unflatten(1, (len(prompts), 2)).transpose(0, 1).flatten(1, 2)
    told = {prompt: grid(x, 2) for prompt, x in zip(prompts, panels, strict=True)}
    save_picture(captioned(told, columns=len(LEARNED)), out)


if __name__ == "__main__":
    main(*sys.argv[1:])

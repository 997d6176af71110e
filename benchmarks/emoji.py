"""PUSHFORWARD_DATA=… python benchmarks/emoji.py RUN PICTURE: what a run of the recipe `emoji` draws of prompts.

A panel for each prompt. It has two samples in a row, guided by 0, 1, 2 and 4 and denoised; the last row is that of 2
with its noise. Four prompts are captions of the training, four are captions that were held out, and four are neither.

Then how different the samples are: in two networks' features, the mean distance between two samples of one prompt, of
eight, and between samples of two prompts.
"""

from __future__ import annotations

import sys

import torch

from pushforward.evaluation import captioned, grid, load_extractor, save_picture
from pushforward.evaluation.features import LITES
from pushforward.guidance import GaussianProduct
from pushforward.runs.folder import load_coded, read_recipe

LEARNED = ("red heart", "green apple", "crescent moon", "taxi")
HELD_OUT = ("white heart", "birthday cake", "fire engine", "peacock")
NEITHER = ("smiling cat", "blue car", "purple flower", "house at night")
WEIGHTS, SHOWN = (0.0, 1.0, 2.0, 4.0), 2.0
SEEDS = 8  # samples of a prompt, of which the picture has two


@torch.no_grad()
def main(run: str, out: str) -> None:
    coded, source = load_coded(run), read_recipe(run).data
    prompts = (*LEARNED, *HELD_OUT, *NEITHER)
    assert set(LEARNED) <= set(source.captions(held_out=False))
    assert set(HELD_OUT) <= set(source.captions(held_out=True))
    assert not set(NEITHER) & {*source.captions(held_out=False), *source.captions(held_out=True)}
    text, drawn = source.text(prompts).repeat_interleave(SEEDS, 0), []
    for weight in WEIGHTS:
        flow = coded.flow.guided(weight, rule=GaussianProduct()) if weight else coded.flow
        x = flow.sample((), text, generator=torch.Generator().manual_seed(0))
        drawn.append(coded.codec.decode(coded.denoise(x, text)))
        if weight == SHOWN:
            noisy = coded.codec.decode(x)
    shown = torch.stack([*drawn, noisy]).unflatten(1, (len(prompts), SEEDS))[:, :, :2]
    panels = (shown.float() / (coded.codec.levels - 1) * 2 - 1).transpose(0, 1).flatten(1, 2)
    told = {prompt: grid(x, 2) for prompt, x in zip(prompts, panels, strict=True)}
    save_picture(captioned(told, columns=len(LEARNED)), out)
    print("| features | guidance | two samples of a prompt | of two prompts |\n|---|---|---|---|")
    for name in LITES:
        extract = load_extractor(name)
        for weight, images in zip(WEIGHTS, drawn, strict=True):
            same, other = distances(extract(images).unflatten(0, (len(prompts), SEEDS)))
            print(f"| {name} | {weight:g} | {same:.1f} | {other:.1f} |", flush=True)


def distances(features: torch.Tensor) -> tuple[float, float]:
    """Of features (prompt, seed, n), the mean distance within a prompt, and between prompts."""
    prompts, seeds = features.shape[:2]
    flat = features.flatten(0, 1)
    apart = torch.cdist(flat, flat)
    same = torch.block_diag(*[torch.ones(seeds, seeds)] * prompts).bool()
    return (apart[same].sum() / (prompts * seeds * (seeds - 1))).item(), apart[~same].mean().item()


if __name__ == "__main__":
    main(*sys.argv[1:])

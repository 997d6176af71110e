"""Denoising images with a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from pushforward.codecs import Coarse, Codec, CodedFlow, GaussianNoise
from pushforward.evaluation import captioned, check_picture, grid, save_picture
from pushforward.runs.data import images_of, recipe_of
from pushforward.runs.folder import load_coded


def denoise(
    run: Path,
    out: Path = Path("denoised.png"),
    data: str | None = None,
    n: int = 10,
    sigma: float | None = None,
    device: str = "auto",
) -> dict[str, str]:
    """Add noise to images and denoise them by the run's score: a picture, and signal-to-noise ratios.

    The ratio is 10 log10(4 / mean square error), in decibels, on [-1, 1].

    Args:
        run: The run folder.
        out: The picture.
        data: A name, a file or a folder of images; by default the run's held-out images.
        n: How many images.
        sigma: Of the noise, on [-1, 1]; by default that of the training.
        device: cpu, cuda, mps, or auto.
    """
    recipe = recipe_of(run)
    check_picture(out)
    if recipe.data.columns:
        recipe.images()  # raises ValueError: a table holds none
    if getattr(recipe.codec, "noise_sigma", None) is None:
        raise ValueError(
            f"{run} was trained without Gaussian noise ({recipe.codec}), and has not learned the score of noisy "
            "images. Train with a codec of GaussianNoise, as the recipe fashion_mnist does."
        )
    images, coded = images_of(run, data), load_coded(run, device=device)
    if sigma is not None:
        coded = CodedFlow(coded.flow, _with_noise(coded.codec, sigma))
    flow, codec = coded.flow, coded.codec
    integers, labels = images.fetch(range(min(n, len(images))))
    if labels is None and flow.classes:
        labels = coded.classify(integers)
    clean = codec.clean(integers).to(flow.device)
    noisy = codec.encode(integers, torch.Generator().manual_seed(0))[0].to(flow.device)
    freed = coded.denoise(noisy, labels)
    pictures = {"images": clean, f"with noise of {codec.noise_sigma:g}": noisy, "denoised": freed}
    save_picture(captioned({name: grid(x, len(x)) for name, x in pictures.items()}, columns=1, zoom=3), out)
    return {
        name: f"{(10 * torch.log10(4 / (x - clean).square().mean())).item():.2f} dB"
        for name, x in (("noisy", noisy), ("denoised", freed))
    }


def _with_noise(codec: Codec, sigma: float) -> Codec:
    """The same codec with another deviation of its noise."""
    if isinstance(codec, Coarse):
        return replace(codec, coarse=_with_noise(codec.coarse, sigma))
    return GaussianNoise(codec.levels, sigma)

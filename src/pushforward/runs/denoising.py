"""Denoising images with a run."""

from __future__ import annotations

from pathlib import Path

import torch

from pushforward.codecs import CodedFlow, GaussianNoise
from pushforward.evaluation import captioned, grid, save_picture
from pushforward.runs.folder import load_coded, read_recipe


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
    coded, recipe = load_coded(run, device=device), read_recipe(run)
    if sigma is not None:
        coded = CodedFlow(coded.flow, GaussianNoise(coded.codec.levels, sigma))
    flow, codec, sigma = coded.flow, coded.codec, coded.codec.noise_sigma
    if sigma is None:
        raise ValueError(f"{run} was trained without Gaussian noise: give the sigma of the noise.")
    images = recipe.images(data)
    integers, labels = images.fetch(range(min(n, len(images))))
    clean = codec.clean(integers).to(flow.device)
    noisy = codec.encode(integers, torch.Generator().manual_seed(0))[0].to(flow.device)
    freed = coded.denoise(noisy, labels)
    pictures = {"images": clean, f"with noise of {sigma:g}": noisy, "denoised": freed}
    save_picture(captioned({name: grid(x, len(x)) for name, x in pictures.items()}, columns=1, zoom=3), out)
    return {
        name: f"{(10 * torch.log10(4 / (x - clean).square().mean())).item():.2f} dB"
        for name, x in (("noisy", noisy), ("denoised", freed))
    }

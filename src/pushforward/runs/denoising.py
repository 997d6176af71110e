"""Denoising images with a run."""

import copy
from dataclasses import replace
from pathlib import Path

import torch

from pushforward.arrays import check_number
from pushforward.codecs import Coarse, Codec, CodedFlow, DenoiserKind, FrozenAutoencoder, GaussianNoise, placed
from pushforward.evaluation import captioned, check_picture, grid, save_picture
from pushforward.runs.data import image_data, recipe_of
from pushforward.runs.folder import load_coded
from pushforward.runs.pictures import as_images


def denoise(
    run: Path,
    out: Path = Path("denoised.png"),
    data: str | None = None,
    n: int = 10,
    sigma: float | None = None,
    by: DenoiserKind = "score",
    device: str = "auto",
) -> dict[str, str]:
    """Add noise to images and take it out again: a picture, and signal-to-noise ratios.

    The ratio is 10 log10(4 / mean square error), in decibels, on [-1, 1]. Latents are compared as images.

    Args:
        run: The run folder.
        out: The picture.
        data: A name, a file or a folder of images; by default the run's held-out images.
        n: How many images.
        sigma: Of the noise, on [-1, 1], or on latents; by default that of the training.
        by: The run's score; the learned denoiser that was trained beside it; iterative steps along the noise levels of
            an iTARFlow; or the tuned decoder of an autoencoder.
        device: cpu, cuda, mps, or auto.
    """
    if n < 1:
        raise ValueError(f"take at least one image; got {n}.")
    if sigma is not None:
        check_number(sigma, "sigma", above=0)
    recipe = recipe_of(run)
    check_picture(out)
    rows = image_data(run, data)
    if getattr(recipe.codec, "noise_sigma", None) is None:
        raise ValueError(
            f"{run} was trained without Gaussian noise ({recipe.codec}), and has not learned the score of noisy "
            "images. Train with a codec of GaussianNoise, as the recipe fashion_mnist does."
        )
    coded = load_coded(run, device=device)
    if sigma is not None:
        coded = CodedFlow(coded.flow, _with_noise(coded.codec, sigma))
    flow, codec, coded = coded.flow, coded.codec, coded.denoised_by(by)
    integers, context = rows.fetch(range(min(n, len(rows))))
    if context is None and flow.classes:
        context = coded.classify(integers)
    noisy = codec.encode(integers.to(flow.device), torch.Generator().manual_seed(0))[0].to(flow.device)
    latent = isinstance(codec, FrozenAutoencoder)
    clean = (placed(integers, codec.levels) if latent else codec.clean(integers)).to(flow.device)
    pictures = {
        "images": clean,
        f"with noise of {codec.noise_sigma:g}": as_images(codec, noisy),
        "denoised": as_images(coded.codec, coded.denoise(noisy, context)),
    }
    save_picture(captioned({name: grid(x, len(x)) for name, x in pictures.items()}, columns=1, zoom=3), out)
    return {
        name: f"{(10 * torch.log10(4 / (x - clean).square().mean())).item():.2f} dB"
        for name, x in zip(("noisy", "denoised"), [*pictures.values()][1:], strict=True)
    }


def _with_noise(codec: Codec, sigma: float) -> Codec:
    """The same codec with another deviation of its noise."""
    if isinstance(codec, FrozenAutoencoder):
        twin = copy.copy(codec)
        twin.sigma = sigma
        return twin
    if isinstance(codec, Coarse):
        return replace(codec, coarse=_with_noise(codec.coarse, sigma))
    return GaussianNoise(codec.levels, sigma)

"""The effect of guidance and denoising on samples: a picture for each weight and sigma, with its Fréchet distance.

    python benchmarks/guidance.py runs/fashion_mnist docs/guidance.png

The rows are guidance weights, the columns the sigma given to Tweedie's formula (0: raw samples). Distances are
between samples and as many held-out images, in features of EfficientNet-Lite0; the samples of a row share their noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pushforward.codecs import placed
from pushforward.evaluation import frechet_distance, grid, load_extractor, save_picture, table
from pushforward.runs import load_coded, read_recipe
from pushforward.sampling import Sampling, samples

WEIGHTS, SIGMAS = (0.0, 1.0, 3.0), (0.0, 0.1, 0.2)
COUNT, SHOWN = 1300, 20  # more than the number of features, 1280


def main(run: Path, out: Path) -> None:
    coded, images = load_coded(run), read_recipe(run).images()
    extract = load_extractor("efficientnet-lite0")
    real = extract(placed(images.fetch(range(COUNT))[0], images.levels))
    cells: dict[str, dict[str, tuple[torch.Tensor, str]]] = {}
    print("| guidance | " + " | ".join(f"σ = {sigma:g}" for sigma in SIGMAS) + " |")
    print("|---" * (1 + len(SIGMAS)) + "|")
    for weight in WEIGHTS:
        drawn = list(samples(coded, Sampling(guidance=weight, denoise="none"), stop=COUNT))
        row = {}
        for sigma in SIGMAS:
            x = torch.cat([coded.flow.denoise(x, sigma, labels) if sigma else x for x, labels, _ in drawn])
            told = f"denoised, sigma = {sigma:g}" if sigma else "raw samples"
            row[told] = grid(x[:SHOWN], SHOWN // 2), f"Frechet distance {frechet_distance(real, extract(x)):.1f}"
        cells[f"w = {weight:g}"] = row
        print(f"| {weight:g} | " + " | ".join(words.split()[-1] for _, words in row.values()) + " |", flush=True)
    save_picture(table(cells), out)
    print(f"\n{COUNT} samples a cell; the flow was trained with σ = {coded.codec.noise_sigma}; picture: {out}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("out", type=Path)
    main(**vars(arguments.parse_args()))

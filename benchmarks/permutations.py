"""Permutations of channels between a Glow's couplings: reversed, shuffled, or a learned 1 × 1 convolution.

    python benchmarks/permutations.py [seeds]

The question of figure 3 of Kingma & Dhariwal 2018 (arXiv:1807.03039), at a size for one CPU core: the recipe
cifar10_small_glow with additive and affine couplings, of three seeds: 18 runs of equal steps, in runs/permutations,
which are continued if they exist. Writes docs/permutations.png, and prints the table.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pushforward as pf
from pushforward.recipes import RECIPES
from pushforward.training import Log

RUNS, PICTURE = Path("runs/permutations"), Path("docs/permutations.png")
PERMUTATIONS, COUPLINGS = ("reverse", "shuffle", "conv"), ("additive", "affine")
BITS = "held-out bits/dim"


def folder(permutation: str, coupling: str, seed: int) -> Path:
    return RUNS / f"{permutation}-{coupling}-{seed}"


def curve(permutation: str, coupling: str, seed: int) -> list[tuple[int, float]]:
    lines = Log(folder(permutation, coupling, seed)).read()
    return [(int(line["step"]), line[BITS]) for line in lines if BITS in line]


def main(seeds: range) -> None:
    recipe = RECIPES["cifar10_small_glow"]()
    for seed in seeds:
        for coupling in COUPLINGS:
            for permutation in PERMUTATIONS:
                model = replace(recipe.model, permutation=permutation, coupling=coupling)
                run = replace(recipe, model=model, train=replace(recipe.train, seed=seed))
                pf.train(run, folder(permutation, coupling, seed))
                print(permutation, coupling, seed, curve(permutation, coupling, seed)[-1], flush=True)
    print("| couplings | " + " | ".join(PERMUTATIONS) + " |\n|---|---|---|---|")
    for coupling in COUPLINGS:
        last = [[curve(permutation, coupling, seed)[-1][1] for seed in seeds] for permutation in PERMUTATIONS]
        print(f"| {coupling} | " + " | ".join(map(told, last)) + " |")
    draw(seeds)


def told(bits: list[float]) -> str:
    """Their mean, and its standard error where there is one."""
    error = f" ± {statistics.stdev(bits) / len(bits) ** 0.5:.3f}" if len(bits) > 1 else ""
    return f"{statistics.mean(bits):.3f}{error}"


def draw(seeds: range) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
    for axes, coupling in zip(panels, COUPLINGS, strict=True):
        for permutation, colour in zip(PERMUTATIONS, ("C3", "C1", "C0"), strict=True):
            for seed in seeds:
                steps, bits = zip(*curve(permutation, coupling, seed), strict=True)
                axes.plot(steps, bits, colour, label=None if seed else permutation, lw=1)
        axes.set(title=f"{coupling} couplings", xlabel="steps of 32 images", ylim=(3.8, 5.2))
        axes.grid(alpha=0.3)
        axes.legend()
    panels[0].set_ylabel("held-out bits/dim, CIFAR-10")
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main(range(int(sys.argv[1]) if len(sys.argv) > 1 else 3))

"""How do channels best meet between a Glow's couplings: reversed, shuffled, or mixed by a learned 1 × 1 convolution?

    python benchmarks/permutations.py

The question of figure 3 of Kingma & Dhariwal 2018 (arXiv:1807.03039), at a size for one CPU core: the recipe
cifar10_small_glow, three times with additive and with affine couplings, 18 runs of equal steps into runs/permutations.
What was begun goes on. Writes docs/permutations.png, and prints the table.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pushforward as pf
from pushforward.recipes import RECIPES
from pushforward.training import Log

RUNS, PICTURE = Path("runs/permutations"), Path("docs/permutations.png")
PERMUTATIONS, COUPLINGS, SEEDS = ("reverse", "shuffle", "conv"), ("additive", "affine"), (0, 1, 2)
BITS = "held-out bits/dim"


def folder(permutation: str, coupling: str, seed: int) -> Path:
    return RUNS / f"{permutation}-{coupling}-{seed}"


def curve(permutation: str, coupling: str, seed: int) -> list[tuple[int, float]]:
    lines = Log(folder(permutation, coupling, seed)).read()
    return [(int(line["step"]), line[BITS]) for line in lines if BITS in line]


def main() -> None:
    recipe = RECIPES["cifar10_small_glow"]()
    for seed in SEEDS:
        for coupling in COUPLINGS:
            for permutation in PERMUTATIONS:
                model = replace(recipe.model, permutation=permutation, coupling=coupling)
                run = replace(recipe, model=model, train=replace(recipe.train, seed=seed))
                pf.train(run, folder(permutation, coupling, seed))
                print(permutation, coupling, seed, curve(permutation, coupling, seed)[-1], flush=True)
    print("| couplings | " + " | ".join(PERMUTATIONS) + " |\n|---|---|---|---|")
    for coupling in COUPLINGS:
        last = [[curve(permutation, coupling, seed)[-1][1] for seed in SEEDS] for permutation in PERMUTATIONS]
        cells = [f"{statistics.mean(each):.3f} ± {statistics.stdev(each) / len(each) ** 0.5:.3f}" for each in last]
        print(f"| {coupling} | " + " | ".join(cells) + " |")
    draw()


def draw() -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
    for axes, coupling in zip(panels, COUPLINGS, strict=True):
        for permutation, colour in zip(PERMUTATIONS, ("C3", "C1", "C0"), strict=True):
            for seed in SEEDS:
                steps, bits = zip(*curve(permutation, coupling, seed), strict=True)
                axes.plot(steps, bits, colour, label=permutation if seed == SEEDS[0] else None, lw=1)
        axes.set(title=f"{coupling} couplings", xlabel="steps of 32 images", ylim=(3.8, 5.2))
        axes.grid(alpha=0.3)
        axes.legend()
    panels[0].set_ylabel("held-out bits/dim, CIFAR-10")
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()

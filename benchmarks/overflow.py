"""Samples of young TarFlows that overflow, and what bounds of the scale cost: a small TarFlow on MNIST, by bound.

    PUSHFORWARD_DATA=… OMP_NUM_THREADS=1 python benchmarks/overflow.py [steps]

For each bound of the affine moves it prints the held-out bits/dim of 2,000 digits, and how many of 320 samples are not
finite, or are far outside of [−1, 1], at two temperatures. A step multiplies by exp(log_scale), and so do the others
after it: where samples leave the data, log-scales that were never trained there add up.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

import pushforward as pf
from pushforward.codecs import CodedFlow
from pushforward.evaluation import held_out_mean
from pushforward.moves import Affine, SoftClip, Softplus
from pushforward.sampling import Sampling, samples
from pushforward.training import minimise

BOUNDS = {"none": Affine(), "SoftClip(3)": Affine(SoftClip(3.0)), "Softplus": Affine(Softplus())}
FAR, DRAWN = 10, 320


def measured(move: Affine, steps: int) -> str:
    recipe = pf.recipes.mnist()
    model = replace(recipe.model, width=64, depth=2, move=move)
    recipe = replace(recipe, model=model, train=replace(recipe.train, steps=steps))
    flow = minimise(recipe.build(), recipe.training_data(), recipe.train)
    coded = CodedFlow(flow.eval(), recipe.codec)
    bits = held_out_mean(coded, recipe.images().part(range(2000)))
    told = [f"{bits.mean:.3f} ± {bits.standard_error:.3f} bits/dim"]
    for temperature in (1.0, 0.9):
        drawn = samples(coded, Sampling(temperature=temperature), stop=DRAWN)
        largest = torch.cat([some.events for some in drawn]).flatten(1).abs().amax(1)
        far = (~(largest <= FAR)).sum().item()
        told.append(f"at {temperature} {(~largest.isfinite()).sum().item()} not finite and {far} beyond {FAR}")
    return f"{'; '.join(told)} of {DRAWN}"


if __name__ == "__main__":
    for name, move in BOUNDS.items():
        print(f"{name}: {measured(move, int(sys.argv[1]) if len(sys.argv) > 1 else 500)}", flush=True)

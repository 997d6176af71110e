"""How many steps the demo's flow may train on uniformly dequantised digits before it overfits to the bins.

    python benchmarks/bins.py

The number of steps is chosen on a fifth of the training digits; the held-out digits are not used.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import torch

from pushforward.codecs import CodedFlow, UniformDequantization
from pushforward.data import digits
from pushforward.demo import go_on, recipe
from pushforward.evaluation import held_out_mean
from pushforward.training import minimise


def main() -> None:
    data = digits("train")
    kept_back = torch.arange(len(data)) % 5 == 0
    train, validation = (replace(data, images=data.images[r], labels=data.labels[r]) for r in (~kept_back, kept_back))
    bins = UniformDequantization(data.levels)
    with contextlib.redirect_stdout(io.StringIO()):
        noisy = minimise(recipe().build(), train, recipe().train)
    print("| steps | bits/dim, training | bits/dim, validation |")
    print("|---|---|---|")
    for steps in (25, 50, 100, 200):
        with contextlib.redirect_stdout(io.StringIO()):
            coded = CodedFlow(go_on(noisy, bins, train, steps=steps), bins)
        seen, unseen = (held_out_mean(coded, part).mean for part in (train, validation))
        print(f"| {steps} | {seen:.3f} | {unseen:.3f} |", flush=True)


if __name__ == "__main__":
    main()

"""TarFlowLM against the autoregressive language model of the same layers, on Shakespeare by characters.

    PUSHFORWARD_DATA=DIR python -m benchmarks.language baseline affine mix1 mixd mixd_of_two --out runs

Each model is trained for the same steps on the same windows, and continued where it was interrupted. Prints a table of
bits/char of the held-out tenth, with the bound's terms.
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import replace
from pathlib import Path

import torch

import pushforward as pf
from pushforward.codecs import TokenCells
from pushforward.models import AutoregressiveLM, Mix1Options, MixDOptions, TarFlowLM
from pushforward.moves import Affine
from pushforward.objectives import Progressive
from pushforward.recipes import shakespeare_characters

WINDOW = {"tokens": 128, "width": 128}
FLOWS = {
    "affine": TarFlowLM(**WINDOW, features=5, depths=(1, 1, 2), move=Affine()),
    "mix1": TarFlowLM(**WINDOW, features=5, depths=(1, 1, 2), move=Mix1Options(16, (32,))),
    "mixd": TarFlowLM(**WINDOW, features=5, depths=(2, 1, 1), move=Mix1Options(4, (32,)), first=MixDOptions(65)),
    "mixd_of_two": shakespeare_characters().model,
}
NAMES = ("baseline", *FLOWS, "progressive")


def recipe(name: str, steps: int) -> pf.Recipe:
    """The recipe of a model by name; all have four layers of transformers. "progressive" is mixd, step by step."""
    ours = shakespeare_characters()
    ours = replace(ours, train=replace(ours.train, steps=steps))
    if name == "baseline":
        model = AutoregressiveLM(**WINDOW, vocabulary=65, depth=4)
        return replace(ours, model=model, codec=TokenCells(65, unit="bits/char"))
    if name == "progressive":
        plan = replace(ours.train, steps=steps // 3)
        return replace(ours, model=FLOWS["mixd"], objective=Progressive(), train=plan)
    return replace(ours, model=FLOWS[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | parameters | bits/char, held out | terms of the bound | core minutes |\n|---|---|---|---|---|")
    for name in given.names:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        run = given.out / f"shakespeare_{name}"
        flow = pf.train(recipe(name, given.steps), run, device="cpu")
        minutes = (resource.getrusage(resource.RUSAGE_SELF).ru_utime - before) / 60
        found = pf.runs.evaluate(run, device="cpu")
        size = sum(p.numel() for p in flow.parameters()) / 1e6
        held_out = str(found["held-out"]).partition(" (")[0]
        print(
            f"| {name} | {size:.2f} M | {held_out} | {found.get('terms of the bound', '')} | {minutes:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

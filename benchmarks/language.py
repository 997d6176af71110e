"""TarFlowLM against the autoregressive language model of the same layers: Shakespeare by characters, Brown by a BPE.

    PUSHFORWARD_DATA=DIR python -m benchmarks.language shakespeare baseline affine mix1 mixd mixd_of_two --out runs
    PUSHFORWARD_DATA=DIR python -m benchmarks.language brown baseline affine mix1 mixd_of_two --out runs

Each model is trained for the same steps on the same windows, and continued where it was interrupted. Prints a table of
the bounds on the held-out tenth, with their terms.
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import replace
from pathlib import Path

import torch

import pushforward as pf
from pushforward.codecs import TokenCells, TokenCodebook
from pushforward.models import AutoregressiveLM, Mix1Options, TarFlowLM
from pushforward.moves import Affine
from pushforward.objectives import Progressive
from pushforward.recipes import brown_words, shakespeare_characters

TEXTS = {"shakespeare": shakespeare_characters, "brown": brown_words}
NAMES = (
    "baseline",
    "affine",
    "mix1",
    "mixd",
    "mixd_of_two",
    "mixd_progressive",
    "small_flow",
    "small_flow_progressive",
)


def recipe(text: str, name: str, steps: int | None = None) -> pf.Recipe:
    """The recipe of a text with a model of four transformer layers by name, or with a small flow of two.

    A flow that is "…_progressive" is trained step by step, in as many training steps altogether.
    """
    ours = TEXTS[text]()
    model, codec = ours.model, ours.codec
    assert isinstance(model, TarFlowLM)
    assert isinstance(codec, TokenCodebook)
    ours = replace(ours, train=replace(ours.train, steps=steps or ours.train.steps))
    if name == "baseline":
        model = AutoregressiveLM(tokens=model.tokens, width=model.width, vocabulary=codec.vocabulary, depth=4)
        return replace(ours, model=model, codec=TokenCells(codec.vocabulary, unit=codec.unit))
    if name.endswith("_progressive"):
        joint = recipe(text, name.removesuffix("_progressive"), steps)
        plan = replace(joint.train, steps=joint.train.steps // len(joint.model.depths))
        return replace(joint, objective=Progressive(), train=plan)
    if name == "small_flow":
        model = replace(model, features=2, width=64, depths=(1, 1))
        return replace(ours, model=model, codec=replace(codec, features=2, sigma=0.1))
    if name in ("affine", "mix1"):
        move = Affine() if name == "affine" else Mix1Options(16, (32,))
        model = replace(model, depths=(1, 1, 2), move=move, first=None)
        return replace(ours, model=model, codec=replace(codec, sigma=0.3))
    return ours if name == "mixd_of_two" else replace(ours, model=replace(model, depths=(2, 1, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", choices=TEXTS)
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | parameters | held out | per character | terms of the bound | core minutes |")
    print("|---|---|---|---|---|---|")
    for name in given.names:
        run = given.out / f"{given.text}_{name}"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        flow = pf.train(recipe(given.text, name, given.steps), run, device="cpu")
        minutes = (resource.getrusage(resource.RUSAGE_SELF).ru_utime - before) / 60
        found = pf.runs.evaluate(run, device="cpu")
        size = f"{sum(p.numel() for p in flow.parameters()) / 1e6:.2f} M"
        held_out, each = (str(found.get(what, "")).partition(" (")[0] for what in ("held-out", "per character"))
        row = name, size, held_out, each, str(found.get("terms of the bound", "")), f"{minutes:.1f}"
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

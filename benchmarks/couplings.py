"""Flow matching on handwritten digits by four couplings: Fréchet distances at a few evaluations, and bits/dim.

    OMP_NUM_THREADS=1 python benchmarks/couplings.py runs/couplings docs/couplings.png [--features efficientnet-lite0]

One U-Net and one plan for each coupling of noise and digits: independent, minibatch optimal transport, semidiscrete
optimal transport, and the latents of a TarFlow, which is trained first, for 300 steps. Then a round of reflow of the
independent flow, and a flow map. Samples are made by so many steps of Euler's method, an evaluation each, and by jumps
of the flow map. Fréchet distances are of 1,000 samples to all 1,797 digits, in their 64 grey levels on [0, 1], or in
the features that `--features` names; of few samples they are biased upwards. Bits/dim are of the 360 held-out digits,
log-dets estimated by one probe each. Finished trainings and cells are kept in the folder, and are not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import pushforward as pf
from pushforward.codecs import CodedFlow, placed
from pushforward.data import ImageSource
from pushforward.evaluation import Extractor, frechet_distance, grid, held_out_mean, load_extractor, save_picture, table
from pushforward.networks import UNetOptions
from pushforward.objectives import (
    Coupling,
    Independent,
    Likelihood,
    Matching,
    MinibatchOT,
    Objective,
    Reflowed,
    SelfDistillation,
    SemidiscreteOT,
    TrainedFlow,
    VelocityRegression,
)
from pushforward.randomness import keyed
from pushforward.sampling import Sampling, samples
from pushforward.solve import Euler, Hutchinson, Jumps
from pushforward.training import Checkpoints, Plan, begin, proceed

IMAGE, LEVELS, DRAWN, SHOWN = (1, 8, 8), 17, 1000, 12
CODEC = pf.codecs.UniformDequantization(LEVELS)
MODEL = {"image": IMAGE, "net": UNetOptions(width=24, levels=2, blocks=1), "divergence": Hutchinson()}
PLAN = Plan(
    steps=2000, batch=64, lr=4e-3, weight_decay=0.01, average_decay=0.99, precision="float32", checkpoint_every=100
)
TARFLOW = pf.models.TarFlow(image=IMAGE, patch=2, transforms=4, width=64, depth=2)
STEPS = (31, 15, 7, 3, 1)


class Pixels(nn.Module):
    """The grey levels of an image on [0, 1]: (n, 3, H, W) on 0 … 255 -> (n, H · W)."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, 0].flatten(1) / 255


def trained(name: str, make: Callable[[], Objective], folder: Path, plan: Plan = PLAN) -> pf.Flow:
    """The flow of this objective, trained in a folder of its own, or continued there."""
    torch.manual_seed(0)
    objective, data = make(), ImageSource("digits").training(pf.data.Takes(IMAGE, LEVELS, 0))
    kept = Checkpoints(folder / name)
    state = begin(objective, data, plan, checkpoints=kept)
    proceed(state, data, plan, checkpoints=kept)
    print(f"{name}: {state.step} steps, {state.seconds:.0f} s", flush=True)
    return state.flow.eval()


def by(coupling: Coupling) -> Callable[[], Objective]:
    def make() -> VelocityRegression:
        return VelocityRegression(pf.models.FlowMatching(**MODEL).build(), CODEC, Matching(coupling=coupling))

    return make


def flows(folder: Path) -> dict[str, pf.Flow]:
    short = replace(PLAN, steps=300, weight_decay=0.1)
    tarflow = trained("TarFlow", lambda: Likelihood(TARFLOW.build(), CODEC), folder, short)
    found = {
        "independent": trained("independent", by(Independent()), folder),
        "minibatch OT": trained("minibatch", by(MinibatchOT()), folder),
        "semidiscrete OT": trained("semidiscrete", by(SemidiscreteOT()), folder),
        "TarFlow": trained("coupled", by(TrainedFlow(tarflow)), folder),
    }

    def again() -> VelocityRegression:
        config = Matching(coupling=Reflowed(found["independent"], count=5000))
        flow = pf.models.FlowMatching(**MODEL).build()
        flow.load_state_dict(found["independent"].state_dict())
        return VelocityRegression(flow, CODEC, config)

    found["reflow"] = trained("reflow", again, folder)
    config = SelfDistillation()
    found["flow map"] = trained("map", lambda: config.build(pf.models.FlowMap(**MODEL).build(), CODEC), folder)
    return found


class Cells:
    """Measured values by name, in a file, so that none is measured twice."""

    def __init__(self, path: Path):
        self.path = path
        self.known = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, name: str, measure: Callable[[], str]) -> str:
        if name not in self.known:
            started = time.monotonic()
            self.known[name] = measure()
            self.path.write_text(json.dumps(self.known, indent=2))
            print(f"{name}: {self.known[name]}, {time.monotonic() - started:.0f} s", flush=True)
        return self.known[name]


def main(folder: Path, out: Path, features: str | None) -> None:
    takes, source = pf.data.Takes(IMAGE, LEVELS, 0), ImageSource("digits")
    parts = [source.training(takes), source.held_out(takes)]
    digits = placed(torch.cat([part.fetch(range(len(part)))[0] for part in parts]), LEVELS)
    extract = load_extractor(features) if features else Extractor(Pixels(), name="pixels")
    found, cells, pictures = flows(folder), Cells(folder / "cells.json"), {}
    real = extract(digits)
    lines = [f"| coupling | bits/dim | {' | '.join(map(str, STEPS))} |", "|---" * (2 + len(STEPS)) + "|"]
    for name, flow in found.items():
        coded = CodedFlow(flow, CODEC)
        row, pictures[name] = [cells(f"{name}, bits/dim", lambda: bits(coded, parts[1]))], {}  # noqa: B023
        for steps in STEPS:
            few = CodedFlow(flow.solved_by((Jumps if name == "flow map" else Euler)(steps)), CODEC)

            def distance(few: CodedFlow = few) -> str:
                x = torch.cat([some.events for some in samples(few, Sampling(batch=256), stop=DRAWN)])
                return f"{frechet_distance(real, extract(placed(CODEC.decode(x), LEVELS))):.2f}"

            row.append(cells(f"{name}, {steps}, {extract.name}", distance))
            shown = few.flow.sample(SHOWN, generator=keyed(0))
            pictures[name][f"{steps} evaluations"] = grid(placed(CODEC.decode(shown), LEVELS), SHOWN // 2), row[-1]
        lines.append(f"| {name} | {' | '.join(row)} |")
    save_picture(table(pictures, zoom=2), out)
    print(f"\nFréchet distances in {extract.name}; picture: {out}\n", *lines, sep="\n")


def bits(coded: CodedFlow, digits: pf.data.Images) -> str:
    found = held_out_mean(coded, digits)
    return f"{found.mean:.3f} ± {found.standard_error:.3f}"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--features")
    torch.set_num_threads(1)
    main(**vars(arguments.parse_args()))

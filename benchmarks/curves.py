"""Bits/dim of flows on images against the processor time of training: Real NVP, Glow, Flow++, Jet and TarFlow.

    PUSHFORWARD_DATA=… OMP_NUM_THREADS=1 python benchmarks/curves.py [minutes]

Each has the same budget of one CPU core. Sizes were chosen so that a few hundred steps fit into it, learning rates by
250 steps. Finished curves are not run again. Appends to docs/curves.jsonl, draws docs/curves.png, prints a table.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from pushforward.codecs import CodedFlow, UniformDequantization
from pushforward.data import Arrays, Images, find
from pushforward.evaluation import held_out_mean
from pushforward.flow import Flow
from pushforward.models import FlowPlusPlus, Glow, Jet, Model, RealNVP, TarFlow
from pushforward.training import Likelihood, Plan, minimise

LINES, PICTURE = Path("docs/curves.jsonl"), Path("docs/curves.png")
LIFT, BATCH, SEEN = UniformDequantization(256), 32, 500  # held-out images for each point of a curve
DATA = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
MODELS = {
    "Real NVP": lambda image: RealNVP(image=image, width=16, blocks=2),
    "Glow": lambda image: Glow(image=image, levels=2 if image[1] % 8 else 3, transforms=8, width=64),
    "Flow++": lambda image: FlowPlusPlus(image=image, width=32, blocks=1, components=8),
    "Jet": lambda image: Jet(image=image, patch=2 if image[1] % 8 else 4, transforms=32, width=32, depth=1, heads=2),
    "TarFlow": lambda image: TarFlow(image=image, patch=4, transforms=4, width=128, depth=2),
}
RATES = {"TarFlow": 1e-3}


def images(data: str, split: str) -> Images:
    found = find(data, split, image=DATA[data])
    assert isinstance(found, Images)
    return replace(found, labels=None, classes=0)


def run(data: str, name: str, minutes: float) -> dict:
    """One curve: (seconds, bits/dim) during training, and the results on all held-out images."""
    model, train, test = MODELS[name](DATA[data]), images(data, "train"), images(data, "test")
    few = Arrays(test.fetch(range(SEEN))[0])
    torch.manual_seed(0)
    plan = Plan(steps=1, batch=BATCH, lr=RATES.get(name, 3e-3), precision="float32", average_decay=0.99)
    step, operations = cost(model, train)
    plan = replace(plan, steps=int(60 * minutes / step), measure_every=max(1, int(60 * minutes / step / 20)))
    curve, started, looking = [], time.process_time(), 0.0

    def measure(flow: Flow) -> None:
        nonlocal looking
        before = time.process_time()
        curve.append((before - started - looking, held_out_mean(CodedFlow(flow, LIFT), few).mean))
        looking += time.process_time() - before

    torch.manual_seed(0)
    flow = minimise(Likelihood(model.build(), LIFT), train, plan, measure=measure)
    final = held_out_mean(CodedFlow(flow, LIFT), Arrays(test.fetch(range(2000))[0]))
    x = LIFT.encode(few.events[:64], torch.Generator().manual_seed(0))[0]
    with torch.no_grad():
        errors = (flow.decode(flow.encode(x)) - x).abs().flatten()
    return {
        "data": data,
        "model": name,
        "minutes": minutes,
        "steps": plan.steps,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "flops a step": operations,
        "bits/dim": final.mean,
        "s.e.": final.standard_error,
        "largest round-trip error": errors.max().item(),
        "99.9 % of them within": errors.quantile(0.999).item(),
        "curve": curve,
    }


def cost(model: Model, data: Images) -> tuple[float, int]:
    """A step's processor seconds and floating-point operations."""
    objective = Likelihood(model.build(), LIFT)
    batch = data.fetch(range(BATCH))[0]
    objective.initialize(batch)
    with FlopCounterMode(display=False) as counter:
        objective(batch)[0].backward()
    started = time.process_time()
    for _ in range(3):
        objective(batch)[0].backward()
    return (time.process_time() - started) / 3, counter.get_total_flops()


def main(minutes: float) -> None:
    done = [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []
    for data in DATA:
        for name in MODELS:
            if not any((line["data"], line["model"]) == (data, name) for line in done):
                done.append(run(data, name, minutes))
                print({key: value for key, value in done[-1].items() if key != "curve"}, flush=True)
                with LINES.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    columns = ("data", "model", "parameters", "steps", "flops a step", "bits/dim", "s.e.", "largest round-trip error")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for line in done:
        print("| " + " | ".join(f"{v:.4g}" if isinstance(v := line[c], float) else str(v) for c in columns) + " |")
    draw(done)


def draw(lines: list[dict]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(DATA), figsize=(9, 3.5), layout="constrained")
    for axes, data in zip(panels, DATA, strict=True):
        for line in lines:
            if line["data"] == data:
                seconds, bits = zip(*line["curve"], strict=True)
                colour = f"C{[*MODELS].index(line['model'])}"
                axes.plot([s / 60 for s in seconds], bits, colour, label=line["model"])
        last = [line["bits/dim"] for line in lines if line["data"] == data]
        axes.set(title=data, xlabel="minutes of one CPU core", ylim=(min(last) - 0.1, max(last) + 1.5))
        axes.grid(alpha=0.3)
        axes.legend()
    panels[0].set_ylabel("held-out bits/dim")
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)

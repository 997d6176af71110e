"""The demo: a TarFlow learns handwritten digits, in a few minutes on two CPU cores.

First it trains by the recipe `digits`, with Gaussian noise, so that samples can be denoised by the flow's score. That
is the run it leaves. Then it trains a copy further with uniform dequantization, for bits/dim. Only the codec differs.
"""

import copy
import time
from dataclasses import replace
from pathlib import Path

import torch

from pushforward.arrays import check_number
from pushforward.codecs import Codec, CodedFlow, UniformDequantization
from pushforward.data import Images, digits
from pushforward.evaluation import captioned, grid, held_out_mean, save_picture
from pushforward.flow import Flow
from pushforward.randomness import Keyed
from pushforward.recipe import Recipe
from pushforward.recipes import digits as digits_recipe
from pushforward.runs import load_coded, note, train
from pushforward.training import Likelihood, Plan, minimise

GUIDANCE = 1.0


def recipe(effort: float = 1.0) -> Recipe:
    """The demo's recipe, its steps multiplied by `effort`."""
    check_number(effort, "effort", above=0)
    made = digits_recipe()
    return replace(made, train=replace(made.train, steps=max(1, round(made.train.steps * effort))))


def go_on(flow: Flow, codec: Codec, data: Images, *, steps: int, lr: float = 2e-3) -> Flow:
    """Train a copy of the flow further, with another codec. Returns the average of its weights."""
    plan = Plan(steps=steps, lr=lr, warmup=20, weight_decay=0.1, precision="float32")
    return minimise(Likelihood(copy.deepcopy(flow), codec, condition_dropout=0.1), data, plan)


def demo(out: Path, effort: float = 1.0, *, device: str = "auto") -> None:
    """Train into the run folder `out`, print what was learned, and write `demo.png` there.

    `effort` multiplies the training steps. The last line is the held-out bits/dim of digits given their classes, with
    uniform dequantization. If the run exists, training continues from its last checkpoint.
    """
    started = time.monotonic()
    data, test = digits("train"), digits("test")
    images, labels = test.fetch(range(len(test)))
    bins = UniformDequantization(data.levels)

    print(f"with Gaussian noise, for samples: {len(data):,} digits of {data.levels} grey levels, into {out}")
    train(recipe(effort), out, device=device)
    noisy = load_coded(out, device=device)
    save_picture(captioned(_panels(noisy, test), columns=2, zoom=5), out / "demo.png")
    accuracy = (noisy.classify(images) == labels).double().mean().item()

    print("then with uniform dequantization, for bits/dim; only for a few steps, since it overfits to the bins:")
    exact = go_on(noisy.flow, bins, data, steps=max(1, round(50 * effort)))
    coded = CodedFlow(exact, bins)
    conditional, unconditional = (
        held_out_mean(coded, test, context) for context in (None, torch.tensor(-1, device="cpu"))
    )
    classified = f"{accuracy:.1%} of {len(test)} held-out digits"
    note(out, {"classified by Bayes' rule": {"text": classified}, "held-out, uniform": {"text": str(conditional)}})

    x = bins.encode(images, Keyed(0, rows=range(len(images))))[0].to(exact.device)
    print(f"float32: {exact.check(x, labels)}")
    if exact.device.type != "mps":  # which has no float64
        print(f"float64: {copy.deepcopy(exact).double().check(x.double(), labels)}")
    print(f"classified by Bayes' rule: {classified}")
    print(f"pictures: {out / 'demo.png'}; {time.monotonic() - started:.0f} s in all")
    print(f"without the class: {unconditional.mean:.3f} bits/dim")
    print(f"held-out {conditional.mean:.3f} bits/dim")


def _panels(coded: CodedFlow, test: Images) -> dict[str, torch.Tensor]:
    """A picture for each caption. Each has a column for every class."""
    rows, classes, flow = 4, torch.arange(test.classes, device="cpu"), coded.flow
    images, labels = test.fetch(range(len(test)))
    columns = torch.stack([images[labels == k][:rows] for k in classes], dim=1).flatten(0, 1)
    labels = classes.repeat(rows)
    z = flow.base.sample(len(labels), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw, guided = flow.decode(z, labels), flow.guided(GUIDANCE).decode(z, labels)
    return {
        "held-out digits": grid(coded.codec.clean(columns), len(classes)),
        "samples": grid(raw, len(classes)),
        "denoised": grid(coded.denoise(raw, labels), len(classes)),
        f"guided by {GUIDANCE:g}, denoised": grid(coded.denoise(guided, labels), len(classes)),
    }

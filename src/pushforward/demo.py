"""The demo: a TarFlow learns handwritten digits, in a few minutes on two CPU cores.

First with Gaussian noise, for samples that its own score can denoise; then on with uniform dequantisation, for
bits/dim. One flow does both: what differs is how the data is lifted.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from pushforward.codecs import Codec, CodedFlow, GaussianNoise, UniformDequantization
from pushforward.data import Images, digits
from pushforward.evaluation import captioned, grid, held_out_bits, save_picture
from pushforward.flow import Flow
from pushforward.models import TarFlow
from pushforward.training import Likelihood, Plan, minimise

SIGMA = 0.1  # of the noise, on [−1, 1], where a grey level is 0.125 wide
GUIDANCE = 1.0


def build() -> Flow:
    """The demo's flow, fresh, and always the same."""
    torch.manual_seed(0)
    return TarFlow(image=(1, 8, 8), patch=2, steps=4, width=64, depth=2, classes=10).build()


def learn(flow: Flow, codec: Codec, data: Images, *, steps: int, lr: float) -> Flow:
    """Train the flow on lifted data, in place; the average of the weights it went through."""
    plan = Plan(steps=steps, lr=lr, warmup=20, weight_decay=0.1, precision="float32")
    return minimise(Likelihood(flow, codec, condition_dropout=0.1), data, plan)


def bits(flow: Flow, codec: Codec, data: Images, label: int | None = None) -> float:
    """The mean bits/dim of images given their labels, or this one: a bound, by one draw of the lift."""
    return held_out_bits(CodedFlow(flow, codec), data, label).mean


def demo(out: Path, effort: float = 1.0) -> None:
    """Train, print what was learned, and write `demo.png` into `out`; `effort` multiplies the training steps.

    The last line is the held-out bits/dim, of digits given their classes, with uniform dequantisation.
    """
    started = time.monotonic()
    data, test = digits("train"), digits("test")
    images, labels = test.fetch(range(len(test)))
    noise, bins = GaussianNoise(data.levels, SIGMA), UniformDequantization(data.levels)
    flow = build()
    print(f"TarFlow, {sum(p.numel() for p in flow.parameters()):,} parameters; {len(data):,} digits of 17 grey levels")

    print("with Gaussian noise, for samples:")
    noisy = learn(flow, noise, data, steps=max(1, round(1000 * effort)), lr=5e-3)
    save_picture(captioned(_panels(noisy, test), columns=2, zoom=5), out / "demo.png")
    accuracy = (noisy.classify(noise.place(images)) == labels).double().mean().item()

    print("and on with uniform dequantisation, for bits/dim; not for long, or it learns the bins by heart:")
    exact = learn(noisy, bins, data, steps=max(1, round(50 * effort)), lr=2e-3)
    conditional, unconditional = bits(exact, bins, test), bits(exact, bins, test, -1)

    x = bins.encode(images)[0]
    print(f"float32: {exact.check(x, labels)}")
    print(f"float64: {exact.double().check(x.double(), labels)}")
    print(f"classified by Bayes' rule: {accuracy:.1%} of {len(test)} held-out digits")
    print(f"pictures: {out / 'demo.png'}; {time.monotonic() - started:.0f} s in all")
    print(f"not told the class: {unconditional:.3f} bits/dim")
    print(f"held-out {conditional:.3f} bits/dim")


def _panels(flow: Flow, test: Images) -> dict[str, torch.Tensor]:
    """A picture for each caption, every one with a column a class."""
    rows, classes = 4, torch.arange(test.classes)
    images, labels = test.fetch(range(len(test)))
    columns = torch.stack([images[labels == k][:rows] for k in classes], dim=1).flatten(0, 1)
    labels = classes.repeat(rows)
    z = flow.base.sample(len(labels), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw, guided = flow.decode(z, labels), flow.guided(GUIDANCE).decode(z, labels)
    return {
        "held-out digits": grid(GaussianNoise(test.levels, SIGMA).place(columns), len(classes)),
        "samples": grid(raw, len(classes)),
        "denoised": grid(flow.denoise(raw, SIGMA, labels), len(classes)),
        f"guided by {GUIDANCE:g}, denoised": grid(flow.denoise(guided, SIGMA, labels), len(classes)),
    }

"""The demo: a TarFlow learns handwritten digits, in a few minutes on two CPU cores.

First with Gaussian noise, for samples that its own score can denoise; then on with uniform dequantisation, for exact
bits/dim. One flow does both: what differs is how the data is lifted.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from pushforward.data import Images, batches, digits
from pushforward.evaluation import captioned, grid, held_out, save_picture
from pushforward.flow import Flow
from pushforward.lift import Gaussian, Lift, Lifted, Uniform, bits_per_dim
from pushforward.models import TarFlow
from pushforward.training import Likelihood, Plan, train

SIGMA = 0.1  # of the noise, on [−1, 1], where a grey level is 0.125 wide
GUIDANCE = 1.0


def demo(out: Path, effort: float = 1.0) -> None:
    """Train, print what was learned, and write `demo.png` into `out`.

    The last line is the held-out bits/dim: of digits given their classes, with uniform dequantisation. `effort`
    multiplies the number of training steps.
    """
    started = time.monotonic()
    data, test = digits("train"), digits("test")
    noise, bins = Gaussian(data.levels, SIGMA), Uniform(data.levels)
    torch.manual_seed(0)
    flow = TarFlow(image=(1, 8, 8), patch=2, steps=4, width=64, depth=2, classes=data.classes).build()
    print(f"TarFlow, {sum(p.numel() for p in flow.parameters()):,} parameters; {len(data):,} digits of 17 grey levels")

    def learn(flow: Flow, lift: Lift, steps: int, lr: float) -> Flow:
        steps = max(1, round(effort * steps))
        plan = Plan(steps=steps, lr=lr, warmup=50, weight_decay=0.1, dtype=torch.float32)
        return train(Likelihood(flow, lift, drop=0.1), batches(data, 128), plan)

    print("with Gaussian noise, for samples:")
    noisy = learn(flow, noise, steps=1000, lr=5e-3)
    save_picture(captioned(_panels(noisy, test), columns=2, zoom=5), out / "demo.png")
    accuracy = (noisy.classify(noise.place(test.images)) == test.labels).double().mean().item()

    print("and on with uniform dequantisation, for exact bits/dim; not for long, or it learns the bins by heart:")
    exact = learn(noisy, bins, steps=200, lr=2e-3)
    log_p = held_out(Lifted(exact, bins), test.images, test.labels, generator=torch.Generator().manual_seed(0))

    x = bins.lift(test.images)[0]
    print(f"float32: {exact.check(x, test.labels)}")
    print(f"float64: {exact.double().check(x.double(), test.labels)}")
    print(f"classified by Bayes' rule: {accuracy:.1%} of {len(test)} held-out digits")
    print(f"pictures: {out / 'demo.png'}; {time.monotonic() - started:.0f} s in all")
    print(f"held-out {bits_per_dim(log_p, test.images[0].numel()).mean():.3f} bits/dim")


def _panels(flow: Flow, test: Images) -> dict[str, torch.Tensor]:
    """A picture for each caption, every one with a column a class."""
    rows, classes = 4, torch.arange(test.classes)
    columns = torch.stack([test.images[test.labels == k][:rows] for k in classes], dim=1).flatten(0, 1)
    labels = classes.repeat(rows)
    z = flow.base.sample(len(labels), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw, guided = flow.decode(z, labels), flow.guided(GUIDANCE).decode(z, labels)
    return {
        "held-out digits": grid(Gaussian(test.levels, SIGMA).place(columns), len(classes)),
        "samples": grid(raw, len(classes)),
        "denoised": grid(flow.denoise(raw, SIGMA, labels), len(classes)),
        f"guided by {GUIDANCE:g}, denoised": grid(flow.denoise(guided, SIGMA, labels), len(classes)),
    }

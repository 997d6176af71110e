"""python benchmarks/inverse.py RUN PICTURE: a learned inverse of a run of digits, beside the exact one.

Trains a `LearnedInverse` on the run's data, then draws 1,000 samples of each, of the same noise. Fréchet distances are
in pixels, of images as decoded, from all digits of the package. Times are medians of processor time, of calls in turn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

import pushforward as pf
from pushforward.evaluation import captioned, frechet_distance, grid, save_picture
from pushforward.objectives import InverseAlignment
from pushforward.runs.folder import load_coded
from pushforward.training import Plan, minimise

SAMPLES, SHOWN, BATCH, CALLS = 1000, 20, 64, 15
PLAN = Plan(steps=500, batch=64, lr=3e-3, warmup=50, weight_decay=0.1, average_decay=0.99, precision="float32")


def timed(calls: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Milliseconds, each call in turn."""
    taken = {name: [] for name in calls}
    for _ in range(CALLS):
        for name, call in calls.items():
            start = time.process_time()
            call()
            taken[name].append(1000 * (time.process_time() - start))
    return {name: median(each) for name, each in taken.items()}


@torch.no_grad()
def main(run: str, out: str) -> None:
    coded = load_coded(run)
    flow, codec = coded.flow, coded.codec
    train, test = (pf.data.digits(split) for split in ("train", "test"))
    torch.manual_seed(0)
    with torch.enable_grad():
        objective = InverseAlignment(pf.LearnedInverse(flow, width=64, depth=2), codec, condition_dropout=0.1)
        start = time.process_time()
        inverse = minimise(objective, train, PLAN)
        print(f"trained in {time.process_time() - start:.0f} s of a processor")
    assert isinstance(inverse, pf.LearnedInverse)
    labels = torch.arange(SAMPLES) % 10
    z = flow.base.sample(SAMPLES, flow.context(labels), generator=torch.Generator().manual_seed(0))
    exact = flow.decode(z, labels)
    drawn = {"exact": exact, "exact, denoised": coded.denoise(exact, labels), "learned": inverse.decode(z, labels)}
    some = labels[:BATCH]
    milliseconds = timed(
        {
            "exact": lambda: flow.sample((), some),
            "exact, denoised": lambda: coded.denoise(flow.sample((), some), some),
            "learned": lambda: inverse.sample((), some),
        }
    )
    real = torch.cat([codec.clean(part.fetch(range(len(part)))[0]) for part in (train, test)]).flatten(1)
    print("| inverse | Fréchet distance | of the class | error | ms |\n|---|---|---|---|---|")
    for name, x in drawn.items():
        x = codec.clean(codec.decode(x))
        right = (flow.classify(x) == labels).double().mean()
        error = (x - codec.clean(codec.decode(drawn["exact, denoised"]))).square().mean()
        distance = frechet_distance(real, x.flatten(1))
        print(f"| {name} | {distance:.3f} | {right:.1%} | {error:.4f} | {milliseconds[name]:.1f} |")
    images, held_out = test.fetch(range(len(test)))
    x = codec.encode(images, torch.Generator().manual_seed(1))[0]
    back = inverse.decode(flow.encode(x, held_out), held_out)
    for name, found in (("learned", back), ("exact, denoised", coded.denoise(x, held_out))):
        print(f"held-out digits, encoded and decoded, {name}: {(found - codec.clean(images)).square().mean():.4f}")
    save_picture(captioned({name: grid(x[:SHOWN], SHOWN) for name, x in drawn.items()}, columns=1, zoom=4), out)


if __name__ == "__main__":
    main(*sys.argv[1:])

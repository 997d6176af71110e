"""python benchmarks/clips.py: when the first frame of a clip can be shown, and by which solver a clip is drawn fastest.

The model is that of the recipe vtest, with small random weights: 48 tokens a frame. The clip moves slowly, and the
latents that are decoded are its own. Seconds of the wall clock with one thread, medians of calls in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from torch import Tensor

from pushforward.recipes.video import vtest
from pushforward.solve import blockwise_jacobi, sequential
from pushforward.transform import Transform, solved_by

FRAMES, CALLS, STEP = 8, 3, 1e-3  # STEP: the deviation of a pixel from frame to frame
SWEEPS = partial(blockwise_jacobi, size=48, tolerance=1e-4)
SOLVERS = {"token by token": sequential, "sweeps": SWEEPS, "sweeps, warm": partial(SWEEPS, warm=True)}


def drawn(transform: Transform, z: Tensor) -> list[Callable[[], Iterator[Tensor]]]:
    """The clip of these latents whole, and frame by frame."""
    return [lambda: iter([transform.decode(z)]), lambda: transform.stream(z.split(1, 1))]


def timed(call: Callable[[], Iterator[Tensor]]) -> tuple[float, float]:
    """Seconds to the first and to the last of what it yields."""
    start, times = time.perf_counter(), []
    for _ in call():
        times.append(time.perf_counter() - start)
    return times[0], times[-1]


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    flow, source = vtest().model.build(), torch.Generator().manual_seed(0)
    for name, parameter in flow.named_parameters():
        parameter.normal_(std=0.02 if "answer" in name else 0.1, generator=source)
    image = flow.event[1:]
    steps = STEP * torch.randn(1, FRAMES, *image, generator=source).cumsum(1)
    z, reads = flow.encode(torch.randn(1, 1, *image, generator=source) + steps), []
    deep = [part for part in flow.modules() if hasattr(part, "layers")][-1]
    calls = [call for solve in SOLVERS.values() for call in drawn(solved_by(flow.transform, solve), z)]
    taken = [[] for _ in calls]
    for _ in range(CALLS):
        for call, times in zip(calls, taken, strict=True):
            times.append(timed(call))
    deep.layers[0].register_forward_hook(lambda *_: reads.append(1))
    print("| solver | frames | first frame, s | clip, s | calls of the deep network |\n|---|---|---|---|---|")
    for i, (call, times) in enumerate(zip(calls, taken, strict=True)):
        reads.clear()
        timed(call)
        first, last = (median(each) for each in zip(*times, strict=True))
        print(f"| {[*SOLVERS][i // 2]} | {('whole', 'streamed')[i % 2]} | {first:.2f} | {last:.2f} | {len(reads)} |")


if __name__ == "__main__":
    main()

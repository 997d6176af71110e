"""Pictures of samples while a run trains: one at each evaluation, drawn with the same noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.codecs import Codec, CodedFlow
from pushforward.evaluation import captioned, grid, save_picture
from pushforward.flow import Flow
from pushforward.sampling import Sampling, samples
from pushforward.training import Log, Look, State
from pushforward.training.loop import Measure

COLUMNS, ROWS = 10, 4
SIDE = 48  # pixels to which small images are enlarged


def drawing(measure: Callable[[Flow], Look], codec: Codec, state: State, log: Log) -> Measure:
    """The measure, which also draws: into pictures/step-00000500.png of the run, and for TensorBoard where it is on."""

    def look(flow: Flow) -> Look:
        found, step = measure(flow), state.step
        picture = enlarged(_drawn(CodedFlow(flow, codec)), COLUMNS, f"step {step}, {found.name} {found.cost:.3f}")
        save_picture(picture, log.folder / "pictures" / f"step-{step:08d}.png")
        log.show(step, picture)
        return found

    return look


def enlarged(x: Tensor, columns: int, caption: str) -> Tensor:
    """Images (n, C, H, W) on [−1, 1] as one picture below a caption, small ones enlarged."""
    return captioned({caption: grid(x, columns)}, columns=1, zoom=max(1, SIDE // x.shape[2]))


def _drawn(coded: CodedFlow) -> Tensor:
    """Samples, every class in turn; those that overflowed are grey."""
    columns = min(coded.flow.classes or COLUMNS, 2 * COLUMNS)
    drawn = samples(coded, Sampling(), stop=ROWS * columns)
    return torch.cat([x.cpu() for x, _ in drawn]).nan_to_num(0, 0, 0)

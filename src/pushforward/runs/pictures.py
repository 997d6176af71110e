"""Pictures of samples while a run trains: one at each evaluation, drawn with the same noise."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pushforward.codecs import Codec, CodedFlow, FrozenAutoencoder, VariationalAutoencoder, placed
from pushforward.evaluation import captioned, grid, save_picture
from pushforward.flow import Flow
from pushforward.sampling import Sampling, samples
from pushforward.shapes import Events
from pushforward.training import Log, Look, State
from pushforward.training.loop import Measure

COLUMNS, ROWS = 10, 4
SIDE = 48  # pixels to which small images are enlarged
NAMED, LETTERS = 30, 6  # most columns that have a class each, and most letters of its name


def drawing(measure: Callable[[Flow], Look], codec: Codec, state: State, log: Log) -> Measure:
    """The measure, which also draws samples: into pictures/step-00000500.png of the run, and on its boards."""

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


def as_images(codec: Codec, x: Events) -> Tensor:
    """Events as images on [−1, 1]: latents of an autoencoder are decoded."""
    latents = isinstance(codec, FrozenAutoencoder | VariationalAutoencoder)
    return placed(codec.decode(x), codec.levels).to(x) if latents else x


def sheet(x: Tensor, sampling: Sampling, names: Sequence[str]) -> Tensor:
    """Samples as a picture that says how they were drawn. Of every class in turn, each class has a column."""
    if names and sampling.label is None and len(names) <= NAMED:
        white = x.new_ones(-len(x) % len(names), *x.shape[1:])
        x = torch.cat([x, white]).unflatten(0, (-1, len(names)))
        short = [name if len(name) <= LETTERS else str(k) for k, name in enumerate(names)]
        columns = {name: grid(x[:, k], 1) for k, name in enumerate(short)}
        return captioned(columns, columns=len(names), zoom=max(1, SIDE // x.shape[3]))
    told = [f"class {sampling.label}"] if names and sampling.label is not None else []
    told += [f"guidance {sampling.guidance:g}"] if sampling.guidance else []
    told += [f"temperature {sampling.temperature:g}"] if sampling.temperature != 1 else []
    return enlarged(x, max(1, round(len(x) ** 0.5)), ", ".join(told) or "samples")


def _drawn(coded: CodedFlow) -> Tensor:
    """Samples, every class in turn; those that overflowed are grey."""
    columns = min(coded.flow.classes or COLUMNS, 2 * COLUMNS)
    drawn = samples(coded, Sampling(), stop=ROWS * columns)
    return torch.cat([some.events.cpu() for some in drawn]).nan_to_num(0, 0, 0)

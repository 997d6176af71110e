"""Samples that are yielded while they are drawn: the frames of a clip, the tokens of a sequence.

A causal flow decodes the first elements of an event first. So a sample can be shown while it grows, and it can be
longer than any event that the flow learned: when a window of elements is full, the last of them are encoded as the
first of the next window. Gu et al. 2025 (STARFlow-V), arXiv:2511.20462.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.arrays import check_real, sizes, tensor_for
from pushforward.conditions import Context, Given
from pushforward.randomness import Source, drawing
from pushforward.shapes import Events, fits
from pushforward.transform import Transform


class Window(NamedTuple):
    """How many elements the flow has at most, and how many of the last it keeps when they are full."""

    most: int
    kept: int


@drawing
def stream(
    flow: Any,
    shape: int | tuple[int, ...] = (),
    context: Given = None,
    *,
    size: tuple[int, ...],
    known: Events | None = None,
    window: tuple[int, int] | None = None,
    temperature: float = 1.0,
    generator: Source = None,
) -> Iterator[Tensor]:
    """Draw events of shape `size`, and yield their elements along the first axis.

    Each element, (*shape, *batch, *size[1:]), is yielded as soon as it is decoded. Together they are the draws of
    `flow.sample(shape, context, size=size)` with the same generator. `known` (*shape, *batch, n, …) are elements before
    them, which are given and not yielded; without batch axes they are those of all rows.

    With a `window` (most, kept) the flow has `most` elements at most, the known ones included: when they are full, the
    last `kept` are its first, and earlier ones are forgotten. Memory then does not grow with size[0]. Raises ValueError
    where the flow is not causal along an open first axis, or a size does not fit.
    """
    event = tuple(flow.event)
    if event[0] is not None or not flow.transform.causal:
        raise ValueError(
            f"samples are streamed along an open first axis, along which a flow is causal; this one, of events "
            f"{event}, is not. Call sample."
        )
    whole, within = sizes(size, "size"), Window(*window) if window else Window(2**62, 0)
    if not fits(whole, event):
        raise ValueError(
            f"this flow has samples of shape {event}, where None is any size above 0; got size={tuple(whole)}."
        )
    if window and not 0 < within.kept < within.most:
        raise ValueError(f"a window of `most` elements keeps from 1 to most − 1 of them; got window={tuple(window)}.")
    given = flow.embedded(flow.context(context))
    batch = sizes(shape) + conditions.batch_shape(given)
    rows = conditions.rows(given, batch)

    def noise(n: int) -> Events:
        latent = flow.transform.latent_shape((n, *whole[1:]))
        return flow.base.sample(batch.numel(), rows, event=latent, temperature=temperature, generator=generator)

    seen = None if known is None else known_rows(tensor_for(flow, known, "known"), batch, (None, *whole[1:]))
    drawn = _drawn(flow.transform, rows, noise, seen, whole[0], within)
    return (element.reshape(*batch, *whole[1:]) for element in drawn)


def known_rows(known: Events, batch: torch.Size, event: tuple[int | None, ...]) -> Events:
    """The first elements of each row's event, (rows, n, …). Raises ValueError where they do not fit this event."""
    check_real(known, "known")
    before, (most, *element) = max(known.dim() - len(event), 0), event
    own = known.shape[before:]
    if fits(own, (None, *element)) and own[0] <= (most or own[0]):
        with suppress(RuntimeError):  # where it does not expand to the batch
            return known.expand((*batch, *own)).reshape(batch.numel(), *own)
    raise ValueError(
        f"known= has elements of shape {tuple(element)}, one at least{f', {most} at most' if most else ''}, along "
        f"its first axis, and before it the axes of the batch {tuple(batch)} or none; it is of shape "
        f"{tuple(known.shape)}."
    )


@torch.no_grad()
def _drawn(
    transform: Transform,
    context: Context,
    noise: Callable[[int], Events],
    seen: Events | None,
    left: int,
    window: Window,
) -> Iterator[Tensor]:
    """The next `left` elements after those that were seen, (rows, 1, …) each."""
    while left:
        before = 0 if seen is None else seen.shape[1]
        if seen is not None and before + left > window.most:
            before = min(before, window.kept)
            seen = seen[:, -before:]
        n = min(left, window.most - before)
        elements = []
        for part in transform.stream(noise(n).split(1, 1), context, seen):
            elements.append(part)
            yield from part.split(1, 1)
        seen = torch.cat(elements if seen is None else [seen.to(elements[0]), *elements], 1)
        left -= n

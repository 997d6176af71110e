"""Data sets of torch and torchvision, as data for a training."""

from collections.abc import Sequence, Sized
from typing import Any, Protocol

import torch
from torch import Tensor

from pushforward.arrays import as_tensor
from pushforward.data.data import Data, Rows, row_numbers
from pushforward.data.encoded import as_pixels


class Items(Sized, Protocol):
    """A torch Dataset of a known length: an event, or an event and its label or vector, by index."""

    def __getitem__(self, index: int, /) -> Any: ...


class FromTorch(Data):
    """A torch Dataset as data: each item is an event, or (event, label), read when it is fetched.

    Events are tensors, arrays, or pictures, of which uint8 tensors (C, H, W) are made, grey or RGB. What a Dataset
    draws at random, an augmentation, is drawn anew each time, and a training that resumes does not draw the same.
    Raises ValueError, naming the item, where one is of another kind or shape, or where only some have a label.

    >>> items = torch.utils.data.TensorDataset(torch.rand(5, 2), torch.arange(5))
    >>> FromTorch(items).fetch([3, 0])[1]
    tensor([3, 0])
    """

    def __init__(self, dataset: Items):
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise ValueError(
                f"events are fetched by their index; a {type(dataset).__name__} has no length and index. Read it into "
                "memory first: data.Arrays(x, labels)."
            )
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        numbers = row_numbers(rows, len(self)).tolist()
        pairs = [_pair(self.dataset[row], row) for row in numbers or [0]]
        events = _stacked([event for event, _ in pairs], numbers, "events")
        contexts = [context for _, context in pairs if context is not None]
        if len(contexts) not in (0, len(pairs)):
            bare = next(row for row, (_, context) in zip(numbers, pairs, strict=True) if context is None)
            raise ValueError(f"item {bare} has no label, and others have one. Give one to every item, or to none.")
        given = _stacked(contexts, numbers, "labels") if contexts else None
        return events[: len(numbers)], None if given is None else given[: len(numbers)]


def _pair(item: Any, row: int) -> tuple[Tensor, Tensor | None]:
    """The event of an item, and its label or vector."""
    event: Any
    event, context = (*item, None)[:2] if isinstance(item, tuple | list) else (item, None)
    if hasattr(event, "getbands"):  # of Pillow, which may be missing
        event = as_pixels(event, f"the picture of item {row}")
    context = None if context is None else as_tensor(context, f"the label of item {row}")
    return as_tensor(event, f"the event of item {row}"), context


def _stacked(parts: Sequence[Tensor], rows: Sequence[int], what: str) -> Tensor:
    shapes = {tuple(part.shape): row for row, part in zip(rows, parts, strict=False)}
    if len(shapes) > 1:
        told = ", ".join(f"{shape} in item {row}" for shape, row in shapes.items())
        raise ValueError(f"the {what} of items have one shape; these are {told}.")
    return torch.stack([*parts])

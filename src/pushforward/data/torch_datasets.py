"""Data sets of torch and torchvision, as data for a training."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pushforward.data.data import Data, Rows, row_numbers


class Items(Sized, Protocol):
    """A torch Dataset of a known length: an event, or an event and its label or vector, by index."""

    def __getitem__(self, index: int, /) -> Any: ...


class FromTorch(Data):
    """A torch Dataset as data: each item is an event, or (event, label), read when it is fetched.

    Events are tensors, arrays, or pictures, of which uint8 tensors (C, H, W) are made. What a Dataset draws at random,
    an augmentation, is drawn anew each time, and a training that resumes does not draw the same.

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
        items = [self.dataset[row] for row in row_numbers(rows).tolist()]
        pairs = [item if isinstance(item, tuple | list) else (item, None) for item in items]
        events = torch.stack([_event(pair[0]) for pair in pairs])
        contexts = [pair[1] for pair in pairs if len(pair) > 1 and pair[1] is not None]
        return events, torch.stack([torch.as_tensor(context) for context in contexts]) if contexts else None


def _event(value: Any) -> Tensor:
    """A tensor, an array, or a picture of Pillow as (C, H, W)."""
    if isinstance(value, Tensor | np.ndarray):
        return torch.as_tensor(value)
    pixels = torch.from_numpy(np.array(value))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)

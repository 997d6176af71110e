"""Images of integer pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.data.data import Data, Rows, row_numbers
from pushforward.data.encoded import Encoded, Shape


@dataclass(frozen=True)
class Images(Data):
    """Images (n, C, H, W) of integers 0 … levels − 1, with labels (n,) 0 … classes − 1, or None.

    The images are a tensor, or `Encoded` images, which are decoded when indexed.
    """

    images: Tensor | Encoded
    labels: Tensor | None = None  # int64
    levels: int = 256
    classes: int = 0  # 0: without labels

    def __post_init__(self):
        shape, labels = tuple(self.images.shape), self.labels
        if len(shape) != 4 or not shape[0]:
            raise ValueError(f"images have shape (n, C, H, W), with n at least 1; these have {shape}.")
        if isinstance(self.images, Tensor):
            _check_range("pixels", self.images, self.levels)
        if labels is None and self.classes:
            raise ValueError(f"classes={self.classes} needs labels, and there are none.")
        if labels is not None:
            if labels.shape != shape[:1]:
                raise ValueError(f"give one label for each of {shape[0]} images; the labels are {tuple(labels.shape)}.")
            _check_range("labels", labels, self.classes)

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def image(self) -> Shape:
        """The shape of one image: (C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        rows = row_numbers(rows)
        return self.images[rows], None if self.labels is None else self.labels[rows]


class Mirrored(Data):
    """Images, followed by the mirror image of each."""

    def __init__(self, images: Images):
        self.images = images

    def __len__(self) -> int:
        return 2 * len(self.images)

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        rows = row_numbers(rows)
        images, labels = self.images.fetch(rows % len(self.images))
        return torch.where((rows >= len(self.images))[:, None, None, None], images.flip(3), images), labels


def _check_range(what: str, values: Tensor, count: int) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{what} are integers 0 … {count - 1}; these are {values.dtype}.")
    least, most = torch.stack(values.aminmax()).tolist()
    if least < 0 or most >= count:
        raise ValueError(f"{what} are integers 0 … {count - 1}; these go from {least} to {most}.")

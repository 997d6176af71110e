"""Labelled images, and batches of them.

`digits.npz` holds the 1,797 handwritten digits of 8 × 8 pixels and 17 grey levels that scikit-learn ships, the test
part of "Optical Recognition of Handwritten Digits": E. Alpaydin, C. Kaynak, UCI 1998, doi:10.24432/C50P49, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from pushforward.randomness import keyed


@dataclass(frozen=True)
class Images:
    """Images (n, C, H, W) of integers 0 … levels − 1, with labels (n,) 0 … classes − 1."""

    images: Tensor
    labels: Tensor
    levels: int
    classes: int

    def __len__(self) -> int:
        return len(self.images)


def digits(split: str) -> Images:
    """The handwritten digits: "test" is every fifth image (360), "train" the other 1,437. Writers may be in both.

    >>> digits("test").images.shape
    torch.Size([360, 1, 8, 8])
    """
    if split not in ("train", "test"):
        raise ValueError(f'the digits have the splits "train" and "test"; got {split!r}.')
    with (files("pushforward.data") / "digits.npz").open("rb") as file:
        arrays = np.load(file)
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]).long()
    held_out = torch.arange(len(images)) % 5 == 0
    rows = held_out if split == "test" else ~held_out
    return Images(images[rows, None], labels[rows], levels=17, classes=10)


def batches(data: Images, size: int, *, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (images, labels), epoch after epoch, each in an order of its own given by (seed, epoch).

    An epoch's last images go into a batch with the first of the next, so that every batch is full.
    """
    if not len(data):
        raise ValueError("there are no images to make batches of.")
    epoch, order = 0, torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(len(data), generator=keyed(seed, epoch))])
            epoch += 1
        rows, order = order[:size], order[size:]
        yield data.images[rows], data.labels[rows]

"""Data sets by name or path."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from pushforward.data.data import Data
from pushforward.data.images import Images


def find(name_or_path: str | Path, split: str = "train", *, image: tuple[int, int, int] | None = None) -> Data:
    """The data set of this name, or in this file or folder."""
    if name_or_path == "digits":
        return digits(split)
    raise NotImplementedError


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

"""Encoded images, decoded when they are asked for."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Size, Tensor

if TYPE_CHECKING:
    from PIL.Image import Image


class Blobs(ABC):
    """Encoded images by number, wherever they lie."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, i: int) -> bytes: ...

    @abstractmethod
    def name(self, i: int) -> str: ...


class Encoded:
    """Images that are decoded when they are indexed by rows, as a tensor (n, C, H, W) is; uint8."""

    def __init__(self, blobs: Blobs, *, image: tuple[int, int, int] | None = None):
        self.blobs, self.image = blobs, image or (3, 1, 1)

    @property
    def shape(self) -> Size:
        return Size((len(self.blobs), *self.image))

    def __getitem__(self, rows: Tensor) -> Tensor:
        raise NotImplementedError

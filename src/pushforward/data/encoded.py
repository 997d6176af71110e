"""Encoded images: n blobs, decoded when they are indexed, so that a set may be larger than memory.

A blob is a file, a range of bytes in a tar, or a cell of a table: each is a subclass of `Blobs`.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Size, Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Shape = tuple[int, int, int]  # channels, height, width


class Blobs(ABC):
    """Encoded images by index. Reading one does not depend on what was read before."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, i: int) -> bytes: ...

    @abstractmethod
    def name(self, i: int) -> str:
        """Where image i is stored, for errors."""


class Encoded:
    """Images that are decoded when indexed by rows; they index like a tensor (n, C, H, W) of uint8.

    Given `image`, each is fitted to that shape. Otherwise all must have the same shape: every header is read at
    construction, which takes as long as reading the set once. Raises ValueError, naming the image, where Pillow cannot
    decode it or its pixels have more than 8 bits.
    """

    def __init__(self, blobs: Blobs, *, image: Shape | None = None):
        self.blobs = blobs
        self.image = image or _common_shape(blobs)

    @property
    def shape(self) -> Size:
        return Size((len(self.blobs), *self.image))

    def __getitem__(self, rows: Tensor) -> Tensor:
        images = np.empty((len(rows), *self.image), dtype=np.uint8)
        for i, row in enumerate(rows.tolist()):
            with _opened(self.blobs, row) as picture:
                images[i] = fitted(picture, self.image)
        return torch.from_numpy(images)


def fitted(picture: Picture, image: Shape) -> np.ndarray:
    """The picture as (C, H, W), uint8: grey or colour, scaled with antialiasing to cover H × W, cropped to its centre.

    Transparent pixels are blended with white. A JPEG more than twice as large is halved while decoding, which is
    faster.
    """
    from PIL import Image, ImageOps

    channels, height, width = image
    if picture.size != (width, height):
        picture.draft(None, (2 * width, 2 * height))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)


def _common_shape(blobs: Blobs) -> Shape:
    first: Shape | None = None
    for i in range(len(blobs)):
        with _opened(blobs, i) as picture:
            shape = (1 if picture.mode in ("1", "L", "LA") else 3, picture.height, picture.width)
        first = first or shape
        if shape != first:
            raise ValueError(
                f"all images have one shape (C, H, W); {blobs.name(0)} has {first}, {blobs.name(i)} {shape}. "
                f"Give image=(C, H, W) to fit them all to it, such as image={first}."
            )
    assert first, "a reader gives at least one image"
    return first


@contextmanager
def _opened(blobs: Blobs, i: int) -> Iterator[Picture]:
    from PIL import Image, UnidentifiedImageError

    blob = blobs.read(i)
    try:
        with Image.open(io.BytesIO(blob)) as picture:
            if picture.mode[0] in "IF":
                raise ValueError(f"its pixels have more than 8 bits, Pillow's mode {picture.mode}")
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = "Pillow knows no such format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{blobs.name(i)} is not an image of 8-bit pixels: {why}. Repair or remove it.") from error

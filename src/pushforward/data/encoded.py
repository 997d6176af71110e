"""Encoded images: n blobs, decoded when they are indexed, so that a set may be larger than memory.

A blob is a file, a range of bytes in a tar, or a cell of a table: each is a subclass of `Blobs`.
"""

from __future__ import annotations

import io
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Size, Tensor

from pushforward.data.data import naming

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Shape = tuple[int, int, int]  # channels, height, width
ORIENTATION = 0x0112  # the EXIF tag, and below its values, as Pillow names the turns
QUARTERS = ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
TURNS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", *QUARTERS), 2))


class Blobs(ABC):
    """Encoded images by index. Reading one does not depend on what was read before."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, i: int) -> bytes: ...

    @abstractmethod
    def name(self, i: int) -> str:
        """Where image i is stored, for errors."""


class Chosen(Blobs):
    """Some of the images of others, by their indices."""

    def __init__(self, blobs: Blobs, rows: list[int]):
        self.blobs, self.rows = blobs, rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int) -> bytes:
        return self.blobs.read(self.rows[i])

    def name(self, i: int) -> str:
        return self.blobs.name(self.rows[i])


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

    def spread_blobs(self, some: int = 1000) -> Iterator[bytes | str]:
        """How many images there are and their shape, and some of them as they are stored, evenly spread."""
        yield str(tuple(self.shape))
        for i in range(0, len(self.blobs), max(1, len(self.blobs) // some)):
            yield self.blobs.read(i)

    def part(self, rows: Tensor) -> Encoded:
        """These images alone, still encoded."""
        return Encoded(Chosen(self.blobs, rows.tolist()), image=self.image)


def fitted(picture: Picture, image: Shape) -> np.ndarray:
    """The picture as (C, H, W), uint8: grey or colour, scaled with antialiasing to cover H × W, cropped to its centre.

    It is turned as its EXIF orientation says. Transparent pixels are blended with white. A JPEG more than twice as
    large is halved while decoding, which is faster.
    """
    from PIL import Image, ImageOps

    channels, height, width = image
    turn = _turn(picture)
    if _upright_size(picture) != (width, height):
        picture.draft(None, (2 * height, 2 * width) if turn in QUARTERS else (2 * width, 2 * height))
    if turn:
        picture = picture.transpose(Image.Transpose[turn])
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)


def as_pixels(picture: Picture, name: str) -> np.ndarray:
    """A picture of Pillow as large as it is, grey or colour: (C, H, W), uint8. Raises ValueError, with the name, for
    pixels of more than 8 bits."""
    with naming(name):
        _check_bits(picture)
    width, height = _upright_size(picture)
    return fitted(picture, (_channels(picture), height, width))


def _channels(picture: Picture) -> int:
    return 1 if picture.mode in ("1", "L", "LA") else 3


def _check_bits(picture: Picture) -> None:
    if picture.mode[0] in "IF":
        raise ValueError(f"its pixels have more than 8 bits, Pillow's mode {picture.mode}")


def _common_shape(blobs: Blobs) -> Shape:
    first: Shape | None = None
    for i in range(len(blobs)):
        with _opened(blobs, i) as picture:
            width, height = _upright_size(picture)
            shape = (_channels(picture), height, width)
        first = first or shape
        if shape != first:
            raise ValueError(
                f"all images have one shape (C, H, W); {blobs.name(0)} has {first}, {blobs.name(i)} {shape}. "
                f"Give image=(C, H, W) to fit them all to it, such as image={first}."
            )
    assert first, "a reader gives at least one image"
    return first


def _turn(picture: Picture) -> str:
    """How to turn the picture upright, by the EXIF orientation that cameras write; "" where it is, or says nothing."""
    if picture.format == "TIFF":
        return ""  # Pillow turns it as it loads it
    try:
        return TURNS.get(picture.getexif().get(ORIENTATION, 1), "")
    except (SyntaxError, ValueError, TypeError, struct.error):  # a damaged EXIF block, beside sound pixels
        return ""


def _upright_size(picture: Picture) -> tuple[int, int]:
    """Width and height of the picture once it is turned."""
    width, height = picture.size
    return (height, width) if _turn(picture) in QUARTERS else (width, height)


@contextmanager
def _opened(blobs: Blobs, i: int) -> Iterator[Picture]:
    from PIL import Image, UnidentifiedImageError

    blob = blobs.read(i)
    try:
        with Image.open(io.BytesIO(blob)) as picture:
            _check_bits(picture)
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = "Pillow knows no such format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{blobs.name(i)} is not an image of 8-bit pixels: {why}. Repair or remove it.") from error

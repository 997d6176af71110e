"""Encoded images, decoded when they are indexed, so that a set may be larger than memory."""

from __future__ import annotations

import copy
import io
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Size, Tensor

from pushforward.data.data import fingerprinted, naming

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Shape = tuple[int, int, int]  # channels, height, width
T = TypeVar("T")
ORIENTATION = 0x0112  # the EXIF tag, and below its values, as Pillow names the turns
QUARTERS = ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
TURNS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", *QUARTERS), 2))


class Blob(Protocol):
    """The bytes of an encoded image. It prints where they are stored."""

    def read(self) -> bytes: ...


class ByteRange(NamedTuple):
    """`size` bytes of a file from `offset` on; a size of −1 is all of it."""

    file: Path
    offset: int = 0
    size: int = -1
    member: str = ""  # of a tar

    def read(self) -> bytes:
        with self.file.open("rb") as opened:  # opened each time, so that threads and processes share no file position
            opened.seek(self.offset)
            return opened.read(self.size)

    def parts(self) -> Iterator[bytes]:
        """The same, a megabyte at a time."""
        with self.file.open("rb") as opened:
            left = opened.seek(0, io.SEEK_END) - self.offset if self.size < 0 else self.size
            opened.seek(self.offset)
            while left > 0 and (part := opened.read(min(left, 2**20))):
                left -= len(part)
                yield part

    def open(self) -> IO[bytes]:
        """The bytes as a file: where they are all of it, it is not read yet."""
        return self.file.open("rb") if self.size < 0 else io.BytesIO(self.read())

    def __str__(self) -> str:
        return f"{self.file}, {self.member}" if self.member else str(self.file)


class OnDemand(Sequence[T]):
    """n elements, of which number i is `make(i)`: made each time that it is indexed, and not kept."""

    def __init__(self, n: int, make: Callable[[int], T]):
        self.n, self.make = n, make

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> T:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not 0 <= i < self.n:
            raise IndexError(i)
        return self.make(i)


class LazyImages(ABC):
    """Images, or the frames of a video, that are decoded when they are indexed.

    They index by rows, like a tensor (n, C, H, W) of uint8. Raises ValueError, naming the file, where one cannot be
    decoded.
    """

    image: Shape
    rows: Tensor  # which of those that are stored

    @property
    def shape(self) -> Size:
        return Size((len(self.rows), *self.image))

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self._decode(self.rows[rows].tolist())

    def part(self, rows: Tensor) -> LazyImages:
        """These images alone, still encoded."""
        twin = copy.copy(self)
        twin.rows = self.rows[rows]
        return twin

    @abstractmethod
    def spread(self) -> Iterator[bytes | str]:
        """The shape, and bytes by which the images are known again."""

    @abstractmethod
    def _decode(self, rows: list[int]) -> Tensor:
        """The images of these numbers, (n, C, H, W)."""


class Encoded(LazyImages):
    """Images that are blobs: in files, in ranges of bytes of tars, or in cells of tables.

    Given `image`, each is fitted to that shape. Otherwise all must have the same shape: every header is read at
    construction, which takes as long as reading the set once. Raises ValueError for pixels of more than 8 bits too.
    """

    def __init__(self, blobs: Sequence[Blob], *, image: Shape | None = None):
        self.blobs, self.rows = blobs, torch.arange(len(blobs), device="cpu")
        self.image = image or _common_shape(blobs)

    def spread(self) -> Iterator[bytes | str]:
        yield str(tuple(self.shape))
        for i in fingerprinted(len(self.rows)):
            yield self.blobs[int(self.rows[i])].read()

    def _decode(self, rows: list[int]) -> Tensor:
        images = np.empty((len(rows), *self.image), dtype=np.uint8)
        for i, row in enumerate(rows):
            with _opened(self.blobs[row]) as picture:
                images[i] = fitted(picture, self.image)
        return torch.from_numpy(images)


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


def stacked(pixels: np.ndarray, image: Shape | None) -> Tensor:
    """Pixels (n, H, W, C) as images (n, C, H, W), `fitted` where a shape is given."""
    if image is None or (pixels.shape[-1], *pixels.shape[1:3]) == tuple(image):
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    from PIL import Image

    pictures = (Image.fromarray(each.squeeze(-1) if each.shape[-1] == 1 else each) for each in pixels)
    return torch.from_numpy(np.stack([fitted(picture, image) for picture in pictures]))


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


def _common_shape(blobs: Sequence[Blob]) -> Shape:
    first: Shape | None = None
    for blob in blobs:
        with _opened(blob) as picture:
            width, height = _upright_size(picture)
            shape = (_channels(picture), height, width)
        first = first or shape
        if shape != first:
            raise ValueError(
                f"all images have one shape (C, H, W); {blobs[0]} has {first}, {blob} {shape}. "
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
def _opened(blob: Blob) -> Iterator[Picture]:
    from PIL import Image, UnidentifiedImageError

    content = blob.read()
    try:
        with Image.open(io.BytesIO(content)) as picture:
            _check_bits(picture)
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = "Pillow knows no such format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{blob} is not an image of 8-bit pixels: {why}. Repair or remove it.") from error

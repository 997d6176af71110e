"""Uploaded pictures: bounded in bytes and pixels, decoded from a list of formats, fitted to the flow's images."""

import io
import struct
import warnings

import torch
from torch import Tensor

from pushforward.data.encoded import fitted

BYTES, PIXELS = 8_000_000, 25_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
BROKEN = (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, struct.error, MemoryError, OverflowError)


def read_upload(body: bytes, image: tuple[int, int, int], levels: int) -> Tensor:
    """The first frame of a picture, as integers 0 … levels − 1 of shape (1, C, H, W).

    It is turned as its EXIF orientation says, scaled to cover the image and cropped to its centre. Raises ValueError
    where it is too large, of another format, of more than 8 bits, or damaged.
    """
    from PIL import Image

    if len(body) > BYTES:
        raise ValueError(f"the picture has more than {BYTES:,} bytes. Give a smaller one.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked below
            with Image.open(io.BytesIO(body), formats=FORMATS) as picture:
                size = f"{picture.width} × {picture.height}"
                if picture.width * picture.height > PIXELS:
                    raise ValueError(f"{size} pixels are more than {PIXELS:,}")
                if picture.mode[0] in "IF":
                    raise ValueError("its pixels have more than 8 bits")
                pixels = torch.from_numpy(fitted(picture, image).copy())
    except (*BROKEN, Image.DecompressionBombError) as error:
        told = "it is none" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(f"this is no sound {', '.join(FORMATS)} picture: {told}.") from None
    return (pixels.float() / 255 * (levels - 1)).round().to(torch.uint8 if levels <= 256 else torch.int64)[None]

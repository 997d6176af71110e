"""Images arranged in grids and tables, and saved."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from pushforward.arrays import as_tensor

if TYPE_CHECKING:
    from PIL import Image, ImageFont

MARGIN, LINE = 16, 24  # pixels: the gap between pictures, and the height of a line of text


def grid(x: Tensor, columns: int, *, gap: int = 1) -> Tensor:
    """Images (n, C, H, W) on [−1, 1] as one picture (C, height, width) on [0, 1], clipped, with white between them."""
    x = ((as_tensor(x, "the array of images").detach().float().cpu() + 1) / 2).clamp(0, 1)
    if x.dim() != 4 or not len(x) or columns < 1:
        raise ValueError(f"a grid is of images (n, C, H, W), one or more; got {tuple(x.shape)}, {columns=}.")
    missing = -len(x) % columns
    x = torch.cat([x, x.new_ones(missing, *x.shape[1:])])
    x = torch.nn.functional.pad(x, (0, gap, 0, gap), value=1.0)
    rows = [torch.cat(list(row), dim=2) for row in x.split(columns)]
    picture = torch.cat(rows, dim=1)
    return picture[:, : picture.shape[1] - gap, : picture.shape[2] - gap]  # no white after the last image


def zoomed(picture: Tensor, zoom: int) -> Tensor:
    """A picture (C, H, W) with each pixel as a square of zoom × zoom."""
    return picture.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)


def captioned(pictures: dict[str, Tensor], columns: int, *, zoom: int = 1) -> Tensor:
    """Pictures (C, H, W) of one size in `columns` columns, each with its caption, pixels enlarged `zoom` times."""
    from PIL import Image

    large = [pixels(zoomed(picture, zoom)) for picture in pictures.values()]
    across, down = large[0].width + MARGIN, large[0].height + LINE + MARGIN
    sheet = Image.new("RGB", (columns * across + MARGIN, -(-len(large) // columns) * down), "white")
    for i, (caption, image) in enumerate(zip(pictures, large, strict=True)):
        left, top = MARGIN + i % columns * across, i // columns * down
        _write(sheet, left, top, caption)
        sheet.paste(image, (left, top + LINE))
    return _tensor(sheet)


def table(cells: dict[str, dict[str, tuple[Tensor, str]]], *, zoom: int = 1) -> Tensor:
    """Pictures (C, H, W) of one size as a table, {row: {column: (picture, text below it)}}.

    Pixels are enlarged `zoom` times. Text is in Pillow's default font, which has little beyond ASCII.
    """
    from PIL import Image

    columns = list(next(iter(cells.values()), {}))
    if not columns or any(list(row) != columns for row in cells.values()):
        raise ValueError(f"a table has rows of the same columns; got {[list(row) for row in cells.values()]}.")
    rows = [list(row.values()) for row in cells.values()]
    height, width = (zoom * side for side in rows[0][0][0].shape[1:])
    side = MARGIN + max(_length(caption) for caption in cells) + MARGIN
    written = [*columns, *(words for row in rows for _, words in row)]
    across = MARGIN + max(width, *(_length(words) for words in written))
    down = height + LINE + MARGIN
    sheet = Image.new("RGB", (side + len(columns) * across, LINE + len(rows) * down), "white")
    for j, caption in enumerate(columns):
        _write(sheet, side + j * across, 0, caption)
    for i, (caption, row) in enumerate(zip(cells, rows, strict=True)):
        top = LINE + i * down
        _write(sheet, MARGIN, top + (height - LINE) // 2, caption)
        for j, (picture, words) in enumerate(row):
            sheet.paste(pixels(zoomed(picture, zoom)), (side + j * across, top))
            _write(sheet, side + j * across, top + height, words)
    return _tensor(sheet)


def save_picture(picture: Tensor, path: str | PathLike[str]) -> None:
    """Write the `pixels` of a picture as an image file; folders are made.

    Raises ValueError, as `check_picture` does.
    """
    check_picture(path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels(picture).save(path)


def check_picture(path: str | PathLike[str]) -> None:
    """Raise ValueError where a picture cannot be written there: to be asked before the work of making it."""
    from PIL import Image

    ending = Path(path).suffix.lower()
    if Image.registered_extensions().get(ending) not in Image.SAVE:
        raise ValueError(f"{path} does not end as a picture does: give a name that ends in .png, .jpg or .webp.")
    above = next(folder for folder in Path(path).absolute().parents if folder.exists())
    if Path(path).is_dir() or not above.is_dir():
        raise ValueError(f"cannot write {path}: {path if Path(path).is_dir() else above} is in the way.")


def pixels(picture: Tensor) -> Image.Image:
    """A picture (C, H, W) on [0, 1], grey or RGB, in 8 bits. Values are clipped, and NaN is black."""
    from PIL import Image

    picture = as_tensor(picture, "the picture").detach().cpu().float().nan_to_num(0, 1, 0).clamp(0, 1)
    return Image.fromarray((picture * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy())


def _tensor(sheet: Image.Image) -> Tensor:
    return torch.from_numpy(numpy.array(sheet)).permute(2, 0, 1) / 255


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(14)


def _length(words: str) -> int:
    """The width of a text, in pixels."""
    return math.ceil(_font().getlength(words))


def _write(sheet: Image.Image, left: int, top: int, words: str) -> None:
    """Draw text into a line of the sheet."""
    from PIL import ImageDraw

    ImageDraw.Draw(sheet).text((left, top + 4), words, fill="black", font=_font())

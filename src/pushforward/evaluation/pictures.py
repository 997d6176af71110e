"""Pictures of images."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image


def grid(x: Tensor, columns: int, *, gap: int = 1) -> Tensor:
    """Images (n, C, H, W) on [−1, 1] as one picture (C, height, width) on [0, 1], clipped, with white between them."""
    x = ((x.detach().float().cpu() + 1) / 2).clamp(0, 1)
    missing = -len(x) % columns
    x = torch.cat([x, x.new_ones(missing, *x.shape[1:])])
    x = torch.nn.functional.pad(x, (0, gap, 0, gap), value=1.0)
    rows = [torch.cat(list(row), dim=2) for row in x.split(columns)]
    picture = torch.cat(rows, dim=1)
    return picture[:, : picture.shape[1] - gap, : picture.shape[2] - gap]  # no white after the last


def captioned(pictures: dict[str, Tensor], columns: int, *, zoom: int = 1) -> Tensor:
    """Pictures (C, H, W) of one size in so many columns, pixels enlarged `zoom` times, each under its caption."""
    from PIL import Image, ImageDraw, ImageFont

    large = [_pixels(picture.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)) for picture in pictures.values()]
    margin, line = 16, 24
    width, height = large[0].width + margin, large[0].height + line + margin
    sheet = Image.new("RGB", (columns * width + margin, -(-len(large) // columns) * height), "white")
    for i, (caption, image) in enumerate(zip(pictures, large, strict=True)):
        left, top = margin + i % columns * width, i // columns * height
        ImageDraw.Draw(sheet).text((left, top + 4), caption, fill="black", font=ImageFont.load_default(14))
        sheet.paste(image, (left, top + line))
    return torch.from_numpy(numpy.array(sheet)).permute(2, 0, 1) / 255


def save_picture(picture: Tensor, path: str | PathLike[str]) -> None:
    """Write a picture (C, H, W) on [0, 1], grey or RGB, as an image file; folders are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _pixels(picture).save(path)


def _pixels(picture: Tensor) -> Image.Image:
    from PIL import Image

    return Image.fromarray((picture * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy())

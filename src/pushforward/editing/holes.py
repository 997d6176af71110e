"""Masks of what is missing, or drawn anew."""

from contextlib import suppress
from pathlib import Path

import numpy
import torch
from torch import Tensor

HOLES = {  # rows and columns of an image, in quarters of its height and width
    "lower": (2, 4, 0, 4),
    "upper": (0, 2, 0, 4),
    "left": (0, 4, 0, 2),
    "right": (0, 4, 2, 4),
    "centre": (1, 3, 1, 3),
}


def broadcast(mask: Tensor, on: Tensor) -> Tensor:
    """A mask for each element of another tensor, on its device.

    Raises ValueError where it is no bool, or does not broadcast.
    """
    if mask.dtype == torch.bool:
        with suppress(RuntimeError):
            return mask.to(on.device).expand(on.shape)
    raise ValueError(
        f"a mask is a bool that broadcasts to {tuple(on.shape)}; got {mask.dtype} of shape {tuple(mask.shape)}."
    )


def hole(mask: str, size: tuple[int, int]) -> Tensor:
    """A mask of missing pixels, bool (H, W): a key of HOLES, or a picture that is white where pixels are missing.

    >>> hole("left", (1, 4))
    tensor([[ True,  True, False, False]])
    """
    height, width = size
    if mask in HOLES:
        top, bottom, left, right = HOLES[mask]
        missing = torch.zeros(height, width, dtype=torch.bool, device="cpu")
        missing[top * height // 4 : bottom * height // 4, left * width // 4 : right * width // 4] = True
        return missing
    if not Path(mask).is_file():
        raise ValueError(f"a mask is {', '.join(HOLES)}, or a picture; there is no file {mask}.")
    from PIL import Image

    with Image.open(mask) as picture:
        fitted = picture.convert("L").resize((width, height), Image.Resampling.NEAREST)
    return torch.from_numpy(numpy.array(fitted)) > 127

"""Sprites of Li & Mandt 2018 (LPC art): images of four attributes, of six values each, whose true edits are known.

A sprite is five layers: body, bottom, top, hair, and one that all share. Here sprites face the viewer, in 24 poses, at
half of their size, with 32 levels a colour. `sprites_layers.npz` lies in the folder that
PUSHFORWARD_DATA names.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from pushforward.data.npz import find_pack

ATTRIBUTES, VALUES, LEVELS = ("body", "bottom", "top", "hair"), 6, 32
POSES = [(action, frame) for action in (0, 3, 6) for frame in range(8)]  # of three actions, from the front


def sprites(split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 3, 32, 32) of integers, their attributes (n, 4) and poses (n,): of 1,000 characters, or 296 others."""
    characters = torch.from_numpy(_file()["perm"].astype(np.int64))
    characters = characters[:1000] if split == "train" else characters[1000:]
    attributes = torch.stack([characters // VALUES**k % VALUES for k in (3, 2, 1, 0)], 1).repeat_interleave(24, 0)
    poses = torch.arange(24).repeat(len(characters))
    return drawn(attributes, poses), attributes, poses


def drawn(attributes: Tensor, poses: Tensor) -> Tensor:
    """The images (n, 3, 32, 32) of integers 0 … 31 that these attributes make in these poses."""
    chunks = zip(attributes.split(500), poses.split(500), strict=True)
    return torch.cat([_drawn(a, p) for a, p in chunks])


def _drawn(attributes: Tensor, poses: Tensor) -> Tensor:
    numbers = torch.cat([attributes + VALUES * torch.arange(4), torch.full((len(poses), 1), 4 * VALUES)], 1)
    action, frame = torch.tensor(POSES)[poses].unbind(1)
    picture = torch.zeros(len(poses), 64, 64, 3)
    for number in numbers.unbind(1):
        layer = _layers()[number, action, frame] / 255
        picture = torch.lerp(picture, layer[..., :3], layer[..., 3:])
    small = torch.nn.functional.avg_pool2d(picture.permute(0, 3, 1, 2), 2)
    return (small * LEVELS).clamp(max=LEVELS - 1).byte()


@cache
def _layers() -> Tensor:
    return torch.from_numpy(_file()["layers"])


@cache
def _file() -> dict[str, np.ndarray]:
    with np.load(find_pack("sprites_layers")) as arrays:
        return {name: arrays[name] for name in ("layers", "perm")}

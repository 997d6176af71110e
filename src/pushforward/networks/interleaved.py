"""Texts and images in one sequence: what each position reads, and where it lies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

IMAGE, PADDING = -1, -2  # in place of a token: an image stands here; nothing does


class Interleaved(NamedTuple):
    """What positions of documents read, (B, S) each. Padding comes last.

    A token of a text has one position. An image of N patches has N + 1: the first reads a learned token, the others the
    patches. Position k of an image predicts patch k, and the last predicts what comes after the image.
    """

    token: Tensor  # int64, the token that is read; 0 where none is
    text: Tensor  # bool, whether a token is read
    image: Tensor  # bool, whether the position is an image's
    patch: Tensor  # int64, the place k of a position in its image; 0 elsewhere
    read: Tensor  # int64, which patch is read, of all of the document's: 1 + its place; 0 for the learned token
    place: Tensor  # int64, along the document: a token takes 1, an image 2

    def part(self, start: int, stop: int) -> Interleaved:
        """Those of some positions."""
        return Interleaved(*(t[:, start:stop] for t in self))

    @property
    def real(self) -> Tensor:
        """Whether a position is no padding, (B, S)."""
        return self.text | self.image


def starts(tokens: Tensor, patches: int) -> Tensor:
    """The first position of each slot, (B, T): of a token, or of an image of so many patches. See `interleave`."""
    taken = positions_taken(tokens, patches)
    return taken.cumsum(1) - taken


def positions_taken(tokens: Tensor, patches: int) -> Tensor:
    """How many positions each slot takes, (B, T)."""
    return torch.where(tokens == IMAGE, patches + 1, (tokens != PADDING).long())


def interleave(tokens: Tensor, patches: int, images: int, place: Tensor | None = None) -> Interleaved:
    """Documents (B, T) int64 -> what their positions read; `patches` are those of an image.

    A slot of `tokens` has a token of a text, or IMAGE where an image stands, or PADDING. A row has at most so many
    `images`. There are S = T + images · patches positions, whatever the values. `place` (B,) is that of the first
    position, 0 where it is None.
    """
    is_image, ends = tokens == IMAGE, positions_taken(tokens, patches).cumsum(1)
    position = torch.arange(tokens.shape[1] + images * patches, device=tokens.device).expand(tokens.shape[0], -1)
    slot = torch.searchsorted(ends, position.contiguous(), right=True)
    inside, slot = slot < tokens.shape[1], slot.clamp(max=tokens.shape[1] - 1)
    code = torch.where(inside, tokens.gather(1, slot), PADDING)
    text, image = code >= 0, code == IMAGE
    offset = torch.where(image, position - starts(tokens, patches).gather(1, slot), 0)
    before = (is_image.cumsum(1) - 1).gather(1, slot) * patches
    steps = torch.where(is_image, 2, (tokens >= 0).long())
    along = (steps.cumsum(1) - steps).gather(1, slot)
    return Interleaved(
        torch.where(text, code, 0),
        text,
        image,
        offset,
        torch.where(image & (offset > 0), before + offset, 0),
        along if place is None else along + place[:, None],
    )


def padded(tokens: list[Tensor]) -> Tensor:
    """Slots of rows of different numbers -> (B, T), with padding after the shorter ones."""
    longest = max(map(len, tokens))
    return torch.stack([F.pad(row, (0, longest - len(row)), value=PADDING) for row in tokens])


def along(values: Tensor, places: Tensor) -> Tensor:
    """values (B, S, F) at places (B, …) -> (B, …, F)."""
    index = places.flatten(1)[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, index).unflatten(1, places.shape[1:])

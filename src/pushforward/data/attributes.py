"""Images with attributes that their captions name."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.data.captions import read_captioned, read_column
from pushforward.data.data import Data, check_several
from pushforward.data.images import Images, Mirrored
from pushforward.data.sources import Source, Takes
from pushforward.data.splits import is_held_out


@dataclass(frozen=True)
class Attributed(Source[Data]):
    """Images in packs (`.npz`), and attributes of them, which a flow does not learn: words of their captions.

    A pack has the arrays `caption`, and `keywords` with "|" between them, a string for each image. An image has an
    attribute where that is a word of its caption or one of its keywords. Colours are rounded down to the codec's
    levels. A tenth of the captions is held out, as `Captioned` does.
    """

    packs: tuple[str, ...]  # paths, or names of packs in the folder that PUSHFORWARD_DATA names
    attributes: tuple[str, ...]
    mirrored: bool = False  # train on every image's mirror image too
    place: ClassVar[str] = "packs"

    def __post_init__(self):
        check_several(self.packs, "packs")
        check_several(self.attributes, "attributes")

    def part(self, takes: Takes, *, held_out: bool) -> Data:
        images = self.images(takes, held_out=held_out)
        return Mirrored(images) if self.mirrored and not held_out else images

    def images(self, takes: Takes, *, held_out: bool) -> Images:
        """The images of a part. Raises ValueError where the model takes none, or more than 256 levels."""
        if len(takes.event) != 3 or not 2 <= takes.levels <= 256:
            raise ValueError(
                f"{self} holds images of 256 levels; the model takes {takes.event}, the codec {takes.levels} levels."
            )
        images, captions, _ = read_captioned(self.packs, takes.image, held_out=held_out)
        pixels = images[torch.arange(len(captions))]
        return Images((pixels.int() * takes.levels // 256).byte(), levels=takes.levels)

    def has(self, *, held_out: bool) -> Tensor:
        """Which images of a part have which attribute: bool (n, attributes)."""
        told = zip(read_column(self.packs, "caption"), read_column(self.packs, "keywords"), strict=True)
        words = [_words(caption, keywords) for caption, keywords in told if is_held_out(caption) == held_out]
        return torch.tensor([[attribute in found for attribute in self.attributes] for found in words], device="cpu")


def _words(caption: str, keywords: str) -> set[str]:
    """The words of a caption, and keywords.

    >>> sorted(_words("keycap: red", "hash key|keycap"))
    ['hash key', 'keycap', 'red']
    """
    return {word.strip(",:") for word in caption.lower().split()} | set(keywords.lower().split("|"))

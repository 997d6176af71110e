"""Images with captions, as documents."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pushforward.data.captions import read_captioned
from pushforward.data.data import check_several
from pushforward.data.document import Document, Documents
from pushforward.data.encoded import Shape
from pushforward.data.language_tokenizer import LanguageTokenizer
from pushforward.data.sources import Source, Takes
from pushforward.data.sprites import CHARACTERS, caption, composed, read_layers, size_of


class Pairs(ABC):
    """Images, each with a caption: a part of a recipe."""

    place: ClassVar[str]  # the field that tells where they are

    @abstractmethod
    def read(self, takes: Takes, *, held_out: bool) -> tuple[Tensor, list[str]]:
        """The images (n, C, H, W) uint8 to learn, or those held out, and their captions."""


@dataclass(frozen=True)
class CaptionedImages(Pairs):
    """Images with captions, of which all are in memory: what `data.captions.read_captioned` reads."""

    paths: tuple[str, ...]  # names are of packs in the folder that PUSHFORWARD_DATA names
    image: Shape = (3, 64, 64)  # to which images are scaled and cropped
    column: str = "text"  # of captions, but in packs
    place: ClassVar[str] = "paths"

    def __post_init__(self):
        check_several(self.paths, "paths")

    def read(self, takes: Takes, *, held_out: bool) -> tuple[Tensor, list[str]]:
        images, captions, _ = read_captioned(self.paths, self.image, held_out=held_out, column=self.column)
        return images[torch.arange(len(captions))], [*captions]


@dataclass(frozen=True)
class SpriteFrames(Pairs):
    """A frame of each clip of `data.Sprites`, in the midst of its action, with a caption of all its attributes.

    Held out are 296 of 1,296 characters. Images have the model's size.
    """

    pack: str = "sprites_layers"  # a path, or a name in the folder that PUSHFORWARD_DATA names
    frame: ClassVar[int] = 4  # of eight
    place: ClassVar[str] = "pack"

    def read(self, takes: Takes, *, held_out: bool) -> tuple[Tensor, list[str]]:
        size = size_of(takes)
        layers, rows = read_layers(self.pack)
        rows = (rows[CHARACTERS:] if held_out else rows[:CHARACTERS]).flatten(0, 1)
        layers = layers[:, :, self.frame : self.frame + 1]
        images = torch.cat([composed(layers, part, size)[:, 0] for part in rows.split(256)])
        return images, [caption(attributes, action) for *attributes, action in rows.tolist()]


@dataclass(frozen=True)
class CaptionDocuments(Source[Documents]):
    """Documents of an image and its caption: of each pair one with the caption first, and one with the image first.

    A text begins with the tokenizer's token for that, and ends with its token for that. A caption that comes first is
    given: what a language model says of it alone is not learned. `order` leaves out the documents of the other order.
    """

    pairs: Pairs
    tokenizer: LanguageTokenizer = LanguageTokenizer()
    order: Literal["text first", "image first", "both"] = "both"

    @property
    def place(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"pairs.{self.pairs.place}"

    def part(self, takes: Takes, *, held_out: bool) -> Documents:
        if takes.vocabulary not in (0, self.tokenizer.vocabulary):
            raise ValueError(
                f"data.tokenizer is that of {self.tokenizer.name}, of {self.tokenizer.vocabulary} tokens, and "
                f"model.language reads {takes.vocabulary}. Name the same language model in both."
            )
        images, captions = self.pairs.read(takes, held_out=held_out)
        texts = {caption: self.tokens(caption) for caption in set(captions)}
        found = []
        for image, told in zip(images, captions, strict=True):
            if self.order != "image first":
                found.append(Document([texts[told], image], given=[0]))
            if self.order != "text first":
                found.append(Document([image, texts[told]]))
        return Documents(found)

    def text(self, captions: Sequence[str]) -> Tensor:
        """The tokens of captions (n, T) int64, with −1 after the shorter ones; none of the empty caption."""
        texts = [self.tokens(caption) if caption else torch.zeros(0, dtype=torch.long) for caption in captions]
        return pad_sequence(texts, batch_first=True, padding_value=-1)

    def tokens(self, caption: str) -> Tensor:
        """The tokens of a caption, (n,) int64, with those that begin and end a text."""
        inner = self.tokenizer.encode(caption).tolist()
        return torch.tensor([self.tokenizer.begin, *inner, self.tokenizer.end])

    def caption(self, tokens: Tensor) -> str:
        """The caption of these tokens, without those that begin and end a text."""
        ends = (self.tokenizer.begin, self.tokenizer.end)
        return self.tokenizer.decode([token for token in tokens.tolist() if token not in ends]).strip()

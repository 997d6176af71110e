"""Images with captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from pushforward.data.data import Arrays, Data
from pushforward.data.encoded import Shape
from pushforward.data.npz import find_pack, read_packs
from pushforward.data.sources import Source, Takes
from pushforward.data.text import TextEncoder

HELD_OUT = 10  # one caption of this many
METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Captioned(Source):
    """Images with captions, in packs (`.npz`) whose array `caption` has one for each image, and an encoder of text.

    A tenth of the captions is held out, with all of their images: which one, is a function of the caption alone.
    """

    packs: tuple[str, ...]  # paths, or names of packs in the folder that PUSHFORWARD_DATA names
    text: TextEncoder = TextEncoder()
    place: ClassVar[str] = "packs"

    def __str__(self) -> str:
        return " and ".join(self.packs)

    def training(self, takes: Takes) -> Data:
        return self._part(held_out=False)

    def held_out(self, takes: Takes) -> Data:
        return self._part(held_out=True)

    def at(self, place: str) -> Captioned:
        return replace(self, packs=(place,))

    def captions(self, *, held_out: bool) -> list[str]:
        """The captions of a part, one for each image."""
        return [caption for caption in read_column(self.packs, "caption") if is_held_out(caption) == held_out]

    def _part(self, *, held_out: bool) -> Data:
        images, kept = read_captioned(self.packs, held_out=held_out)
        return Arrays(images, self.text.of_each(kept))


def read_captioned(packs: Sequence[str], *, held_out: bool, image: Shape | None = None) -> tuple[Tensor, list[str]]:
    """The images (n, C, H, W) of a part of packs, fitted to a shape where one is given, and their captions."""
    captions = read_column(packs, "caption")
    rows = [row for row, caption in enumerate(captions) if is_held_out(caption) == held_out]
    images = read_packs([*map(find_pack, packs)], "train", image=image).fetch(rows)[0]
    return images, [captions[row] for row in rows]


def read_column(packs: Sequence[str], name: str) -> list[str]:
    """The texts in an array of packs, one for each image."""
    found = [np.load(path)[name].tolist() for path in map(find_pack, packs)]
    return [text for part in found for text in part]


def is_held_out(caption: str) -> bool:
    """Whether images of this caption are held out.

    >>> [is_held_out(caption) for caption in ("red heart", "dog", "soap")]
    [False, False, False]
    """
    return hashlib.sha256(caption.encode()).digest()[0] % HELD_OUT == 0


def read_metadata(folder: Path, column: str = "text") -> tuple[list[Path], list[str]]:
    """The files that metadata.jsonl of a folder names, and their captions, which are in this column.

    It has a line {"file_name": "1.png", "text": "a red heart"} for each. Raises ValueError, naming the line, where one
    cannot be read, and FileNotFoundError where there is no metadata.jsonl.
    """
    path = folder / METADATA
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: a line for each file, with its file_name and {column}.")
    files, captions = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            file, told = folder / found["file_name"], as_caption(found[column])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: expected JSON with file_name and {column}; {error}") from None
        if not file.exists():
            raise ValueError(f"{path}, line {number}: there is no {file}.")
        files.append(file)
        captions.append(told)
    return files, captions


def as_caption(found: object) -> str:
    """A caption as it was read. Raises TypeError where it is no text."""
    if not isinstance(found, str):
        raise TypeError(f"a caption is a text, and this is {found!r}")
    return found

"""Images with captions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from pushforward.data.captioned_tars import as_caption, find_tars, read_images
from pushforward.data.data import Arrays, Data, Rows, check_several, digest, naming, row_numbers, some_of
from pushforward.data.delimited import read_text
from pushforward.data.encoded import Encoded, Shape
from pushforward.data.images import Images
from pushforward.data.npz import as_text, find_pack, read_packs, reading
from pushforward.data.sources import Source, Takes
from pushforward.data.splits import is_held_out
from pushforward.data.text import Embedded, TextEncoder, embedded

METADATA = "metadata.jsonl"


class ImagesWithText(Data):
    """Images with embeddings of their captions; both may be made when they are fetched."""

    def __init__(self, images: Images, text: Tensor | Embedded):
        self.images, self.text = images, text

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        rows = row_numbers(rows, len(self))
        return self.images.fetch(rows)[0], self.text[rows]

    def fingerprint(self) -> str:
        return digest(
            [self.images.fingerprint(), *([self.text] if isinstance(self.text, Tensor) else self.text.spread())]
        )


@dataclass(frozen=True)
class Captioned(Source):
    """Images with captions, in packs or in tars, and an encoder of text.

        pack.npz                     images, and an array `caption` with one for each; or the name of a pack
        set.tar, folder, 'set-*.tar'   tars whose members are images, `key.jpg`, and captions, `key.txt` or `key.json`

    Images in tars are fitted to the model, and read when they are fetched. Embeddings are in memory where they take
    1 GB at most, and otherwise made for each batch. So a set in tars may be larger than memory. A tenth of the captions
    is held out, with all of their images: which one, is a function of the caption alone. Of those in tars the held-out
    data are 5,000 at most.
    """

    packs: tuple[str, ...]  # paths, or names of packs in the folder that PUSHFORWARD_DATA names; or one path of tars
    text: TextEncoder = TextEncoder()
    place: ClassVar[str] = "packs"

    def __post_init__(self):
        check_several(self.packs, "packs")

    def __str__(self) -> str:
        return " and ".join(self.packs)

    def training(self, takes: Takes) -> Data:
        return self._part(takes, held_out=False)

    def held_out(self, takes: Takes) -> Data:
        return self._part(takes, held_out=True)

    def captions(self, *, held_out: bool) -> list[str]:
        """The captions of a part of packs, one for each image."""
        return [caption for caption in read_column(self.packs, "caption") if is_held_out(caption) == held_out]

    def _part(self, takes: Takes, *, held_out: bool) -> Data:
        tars = [tar for place in self.packs for tar in find_tars(place)]
        if tars:
            return self._in_tars(tars, takes, held_out=held_out)
        for place in self.packs:
            if Path(place).is_dir():
                raise ValueError(
                    f"the folder {place} holds no .tar. Give a folder or a pattern of tars, or packs, .npz."
                )
        images, captions = read_captioned(self.packs, held_out=held_out)
        text = embedded(captions, self.text)
        return Arrays(images, text) if isinstance(text, Tensor) else ImagesWithText(Images(images), text)

    def _in_tars(self, tars: Sequence[Path], takes: Takes, *, held_out: bool) -> Data:
        channels, height, width = takes.event
        if channels not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels, and model.image has {channels}. Set it, or give a codec.")
        blobs, captions = read_images(tars, held_out=held_out)
        images = Images(Encoded(blobs, image=(channels, height, width)))
        both = ImagesWithText(images, embedded(captions, self.text, captions.name))
        return some_of(both) if held_out else both


def read_captioned(packs: Sequence[str], *, held_out: bool, image: Shape | None = None) -> tuple[Tensor, list[str]]:
    """The images (n, C, H, W) of a part of packs, fitted to a shape where one is given, and their captions."""
    captions, images = read_column(packs, "caption"), read_packs([*map(find_pack, packs)], "train", image=image)
    if len(captions) != len(images):
        raise ValueError(f"{' and '.join(packs)}: {len(captions)} captions of {len(images)} images; give one for each.")
    rows = [row for row, caption in enumerate(captions) if is_held_out(caption) == held_out]
    return images.fetch(rows)[0], [captions[row] for row in rows]


def read_column(packs: Sequence[str], name: str) -> list[str]:
    """The texts in an array of packs, one for each image. Raises ValueError, naming the pack, where it has none."""
    found: list[str] = []
    for path in map(find_pack, packs):
        with reading(path) as arrays:
            if name not in arrays:
                raise ValueError(f"it holds {', '.join(arrays)}; expected {name} too, a text for each image.")
            texts = as_text(arrays[name])
            if texts.ndim != 1 or texts.dtype.kind != "U":
                raise ValueError(f"{name} is a text for each image, (n,); this is {texts.dtype} of {texts.shape}.")
            found += texts.tolist()
    return found


def read_metadata(folder: Path, column: str = "text") -> tuple[list[Path], list[str]]:
    """The files that metadata.jsonl of a folder names, and their captions, which are in this column.

    It has a line {"file_name": "1.png", "text": "a red heart"} for each. Raises ValueError, naming the line, where one
    cannot be read, and FileNotFoundError where there is no metadata.jsonl.
    """
    path = folder / METADATA
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: a line for each file, with its file_name and {column}.")
    files, captions = [], []
    with naming(path):
        lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            file, told = folder / found["file_name"], as_caption(found[column])
            if not file.exists():
                raise ValueError(f"there is no {file}")
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{path}, line {number}: expected JSON with file_name and {column}; {error}.") from None
        files.append(file)
        captions.append(told)
    return files, captions

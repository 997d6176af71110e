"""Images with captions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pushforward.data.arrow import cells, hugging_face_table
from pushforward.data.captioned_tars import as_caption, find_tars, read_images
from pushforward.data.data import Data, Rows, check_several, digest, naming, row_numbers, some_of
from pushforward.data.delimited import read_text
from pushforward.data.encoded import Blob, ByteRange, Encoded, Shape
from pushforward.data.images import Images
from pushforward.data.npz import as_text, find_pack, read_packs, reading
from pushforward.data.sources import Source, Takes
from pushforward.data.splits import check_captions, is_held_out
from pushforward.data.text_encoders import Embedded, TextEncoder

METADATA = "metadata.jsonl"


class ImagesWithText(Data):
    """Images with embeddings of their captions; both may be made when they are fetched.

    The captions are in the fingerprint: embeddings are not the same to the bit on every processor.
    """

    def __init__(self, images: Images, text: Embedded):
        self.images, self.text = images, text

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        rows = row_numbers(rows, len(self))
        return self.images.fetch(rows)[0], self.text[rows]

    def fingerprint(self) -> str:
        return digest([self.images.fingerprint(), *self.text.spread()])


@dataclass(frozen=True)
class Captioned(Source[Data]):
    """Images with captions, which `read_captioned` reads and fits to the model, and an encoder of text.

    Embeddings are in memory where they take 1 GB at most, and otherwise made for each batch; images in tars are read
    when they are fetched. So a set in tars may be larger than memory. Of such a set the held-out data are 5,000 images
    at most.
    """

    packs: tuple[str, ...]  # the places of images with captions; names are of packs in the folder PUSHFORWARD_DATA
    text: TextEncoder = TextEncoder()
    place: ClassVar[str] = "packs"

    def __post_init__(self):
        check_several(self.packs, "packs")

    def part(self, takes: Takes, *, held_out: bool) -> Data:
        images, captions, name = read_captioned(self.packs, takes.image, held_out=held_out)
        both = ImagesWithText(Images(images), Embedded(captions, self.text, name))
        return some_of(both) if held_out and isinstance(images, Encoded) else both

    def captions(self, *, held_out: bool) -> list[str]:
        """The captions of a part of packs, one for each image."""
        return [caption for caption in read_column(self.packs, "caption") if is_held_out(caption) == held_out]


class WithCaptions(NamedTuple):
    """Images and a caption for each."""

    images: Tensor | Encoded
    captions: Sequence[str]
    name: Callable[[int], str]  # of a caption, by its number, for errors


def read_captioned(places: Sequence[str], image: Shape, *, held_out: bool, column: str = "text") -> WithCaptions:
    """The images to learn, or those held out, scaled and cropped to one shape, and their captions.

        set                        a pack (`.npz`) whose array `caption` has one for each image, by name or path
        folder                     with metadata.jsonl, a line {"file_name": "1.png", "text": "a red heart"} an image
        set.tar, folder, 'set-*.tar'   tars whose members are images, `key.jpg`, and captions, `key.txt` or `key.json`
        hf:owner/name, hf:folder   what the Hugging Face library `datasets` opens, with columns of images and texts

    A tenth of the captions is held out with all of their images: which one, is a function of the caption alone. Images
    in tars are decoded when they are indexed, others are in memory. `column` is that of captions in metadata.jsonl and
    by `datasets`. Raises ValueError, naming the line or member, for what cannot be read.
    """
    if tars := [tar for place in places for tar in find_tars(place)]:
        blobs, captions = read_images(tars, held_out=held_out)
        return WithCaptions(Encoded(blobs, image=image), captions, captions.name)
    parts = []
    for place in places:
        images, told = _read(place, image, column)
        rows = [row for row, caption in enumerate(told) if is_held_out(caption) == held_out]
        parts.append((images[torch.tensor(rows, dtype=torch.long)], [told[row] for row in rows]))
    captions = [caption for _, told in parts for caption in told]
    check_captions(len(captions), " and ".join(places), held_out=held_out)
    return WithCaptions(torch.cat([images for images, _ in parts]), captions, "caption {}".format)


def _read(place: str, image: Shape, column: str) -> tuple[Tensor | Encoded, list[str]]:
    """All images at a place other than tars, and their captions."""
    if place.startswith("hf:"):
        blobs, captions = _hugging_face(place, column)
    elif Path(place).is_dir():
        files, captions = read_metadata(Path(place), column)
        blobs = [*map(ByteRange, files)]
    else:
        captions, images = read_column([place], "caption"), read_packs([find_pack(place)], "train", image=image).images
        if len(captions) != images.shape[0]:
            raise ValueError(f"{place}: {len(captions)} captions of {images.shape[0]} images; give one for each.")
        return images, captions  # pyright: ignore[reportReturnType] - packs are read into memory
    return Encoded(blobs, image=image), captions


def _hugging_face(name: str, column: str) -> tuple[Sequence[Blob], list[str]]:
    table = hugging_face_table(name[3:], "train")
    if lacking := {"image", column} - {*table.column_names}:
        raise ValueError(f"{name} has the columns {', '.join(table.column_names)}, and no {lacking.pop()}.")
    try:
        return cells(table["image"], name), [as_caption(text) for text in table[column].to_pylist()]
    except TypeError as error:
        raise ValueError(f"the column {column} of {name} has no captions: {error}.") from None


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
        raise FileNotFoundError(
            f"the folder {folder} holds no .tar, and no {METADATA}: a line for each file, with file_name and {column}."
        )
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

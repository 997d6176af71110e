"""Images with captions in tar files, as WebDataset and img2dataset write them.

The caption of `key.jpg` is the text in `key.txt`; or where there is none, the text under "caption" in `key.json`.
Captions are read once before training, to find those that are held out. For a large tar the result is kept in the
cache.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from pushforward.data.folders import ENDINGS, Stretch, is_image
from pushforward.data.splits import is_held_out
from pushforward.data.tars import Members, Shards, files_in, found_once, key_of

FIELD = "caption"  # of a .json


class Told(NamedTuple):
    """Members of a tar that have captions, as `Members`, and the members that hold these."""

    names: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    text_names: np.ndarray
    text_offsets: np.ndarray
    text_sizes: np.ndarray
    held_out: np.ndarray  # (n,) bool: whether the caption is


class Captions(Sequence[str]):
    """Captions in members of tars, each read when it is indexed."""

    def __init__(self, shards: Shards):
        self.shards, self.name = shards, shards.name

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, i: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _caption(self.shards.stretch(i))


def find_tars(place: str | Path) -> list[Path]:
    """The tars at a path: one, those of a folder, or those that a pattern matches, in the order of their names.

    Empty where the path is of something else. Raises FileNotFoundError where a pattern matches no file.
    """
    path = Path(place)
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    if path.suffix != ".tar":
        return []
    found = [path] if path.exists() else sorted(path.parent.glob(path.name))
    if not found:
        raise FileNotFoundError(f"there is no tar {path}.")
    return found


def read_told(paths: Sequence[Path], *, held_out: bool) -> tuple[Shards, Captions]:
    """The images of tars that are to be learned, or those held out, and their captions.

    Raises ValueError, naming the tar and the image, where one has no caption; and where there are no images.
    """
    parts = [found_once(path, Told, _told) for path in paths]
    if not sum(len(part.names) for part in parts):
        raise ValueError(
            f"there are no images in {', '.join(map(str, paths))}: no member ends in {', '.join(ENDINGS)}."
        )
    kept = [Told(*(array[part.held_out == held_out] for array in part)) for part in parts]
    images = Shards(paths, [Members(*part[:3]) for part in kept])
    return images, Captions(Shards(paths, [Members(*part[3:6]) for part in kept]))


def _told(path: Path) -> Told:
    """Read all headers and captions of a tar."""
    images: list[tuple[str, tarfile.TarInfo]] = []
    texts: dict[str, tuple[str, tarfile.TarInfo]] = {}
    for name, member in files_in(path):
        if is_image(PurePath(name)):
            images.append((name, member))
        elif name.endswith(".txt") or (name.endswith(".json") and key_of(name) not in texts):
            texts[key_of(name)] = name, member
    for name, _ in images:
        if key_of(name) not in texts:
            key = PurePath(key_of(name)).name
            raise ValueError(f"{path}: the image {name} has no caption; expected a member {key}.txt or {key}.json.")
    told = [texts[key_of(name)] for name, _ in images]
    captions = (_caption(Stretch(path, member.offset_data, member.size, name)) for name, member in told)
    held_out = np.array([is_held_out(caption) for caption in captions], dtype=bool)
    return Told(*Members.of(images), *Members.of(told), held_out)


def _caption(stretch: Stretch) -> str:
    """The caption in a member. Raises ValueError, naming it, where it holds none."""
    try:
        text = stretch.read().decode()
        caption = json.loads(text)[FIELD] if stretch.member.endswith(".json") else text.strip()
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{stretch} holds no caption: {error!r}. Expected UTF-8, in JSON under {FIELD!r}.") from None
    if not isinstance(caption, str):
        raise ValueError(f"{stretch} holds no caption: {caption!r} is no text.")
    return caption

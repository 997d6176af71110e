"""Images and videos with captions in tar files, as WebDataset, img2dataset and video2dataset write them.

The caption of `key.jpg` or `key.mp4` is the text in `key.txt`; or where there is none, that under "caption" in
`key.json`. Captions are read once before training, to find those that are held out. For a large tar the result is
kept in the cache.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from pushforward.data.encoded import Shape
from pushforward.data.folders import ENDINGS, Stretch, is_image
from pushforward.data.recordings import MOVIES, Recording, recorded
from pushforward.data.splits import is_held_out
from pushforward.data.tars import Members, Shards, files_in, found_once, key_of
from pushforward.files import matching

FIELD = "caption"  # of a .json
VIDEOS = (*MOVIES, ".gif", ".webp")  # of the videos in tars


class CaptionedMembers(NamedTuple):
    """Members of a tar that have captions, as `Members`, and the members that hold these."""

    names: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    text_names: np.ndarray
    text_offsets: np.ndarray
    text_sizes: np.ndarray
    held_out: np.ndarray  # (n,) bool: whether the caption is
    frames: np.ndarray  # (n,) int64: of a video; 1 of an image


class Recordings(Sequence[Recording]):
    """Videos in members of tars, fitted to an image, each opened when it is indexed."""

    def __init__(self, shards: Shards, frames: np.ndarray, image: Shape):
        self.shards, self.frames, self.image = shards, frames, image

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, i: int) -> Recording:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not 0 <= i < len(self):
            raise IndexError(i)
        return recorded(self.shards.stretch(i), self.image, int(self.frames[i]))


class Captions(Sequence[str]):
    """Captions in members of tars, each read when it is indexed."""

    def __init__(self, shards: Shards):
        self.shards, self.name = shards, shards.name

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, i: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not 0 <= i < len(self):
            raise IndexError(i)
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
    found = [path] if path.exists() else matching(path)
    if not found:
        raise FileNotFoundError(f"there is no tar {path}.")
    return found


def read_images(paths: Sequence[Path], *, held_out: bool) -> tuple[Shards, Captions]:
    """The images of tars that are to be learned, or those held out, and their captions.

    Raises ValueError, naming the tar and the image, where one has no caption; and where there are no images.
    """
    kept = _kept(paths, _image_members, held_out, "image", ENDINGS)
    return _shards(paths, kept, 0), Captions(_shards(paths, kept, 3))


def read_recordings(paths: Sequence[Path], image: Shape, *, held_out: bool) -> tuple[Recordings, Captions]:
    """The videos of tars that are to be learned, or those held out, and their captions: as `read_images`."""
    kept = _kept(paths, _video_members, held_out, "video", VIDEOS)
    frames = np.concatenate([part.frames for part in kept])
    return Recordings(_shards(paths, kept, 0), frames, image), Captions(_shards(paths, kept, 3))


def _kept(
    paths: Sequence[Path],
    find: Callable[[Path], CaptionedMembers],
    held_out: bool,
    what: str,
    endings: Sequence[str],
) -> list[CaptionedMembers]:
    """What is to be learned of the members of tars, or what is held out. Raises ValueError where there is nothing."""
    parts = [found_once(path, CaptionedMembers, find) for path in paths]
    if not sum(len(part.names) for part in parts):
        whole = ", ".join(map(str, paths))
        raise ValueError(f"there are no {what}s in {whole}: no member ends in {', '.join(endings)}.")
    kept = [CaptionedMembers(*(array[part.held_out == held_out] for array in part)) for part in parts]
    if not sum(len(part.names) for part in kept):
        raise ValueError(f"{paths[0]} has no caption {'to hold out' if held_out else 'to learn'}: add more.")
    return kept


def _shards(paths: Sequence[Path], parts: Sequence[CaptionedMembers], first: int) -> Shards:
    """The members of tars that three arrays tell, from the first on."""
    return Shards(paths, [Members(*part[first : first + 3]) for part in parts])


def _image_members(path: Path) -> CaptionedMembers:
    """Read all headers and captions of a tar of images."""
    return _members(path, "image", is_image)


def _video_members(path: Path) -> CaptionedMembers:
    """Read all headers and captions of a tar of videos, and open each video."""
    found = _members(path, "video", lambda name: name.suffix.lower() in VIDEOS)
    videos = _shards([path], [found], 0)
    frames = [len(recorded(videos.stretch(i)).rows) for i in range(len(videos))]
    return found._replace(frames=np.array(frames, dtype=np.int64))


def _members(path: Path, what: str, is_one: Callable[[PurePath], bool]) -> CaptionedMembers:
    """The members that are images, or videos, as if of one frame."""
    found: list[tuple[str, tarfile.TarInfo]] = []
    texts: dict[str, tuple[str, tarfile.TarInfo]] = {}
    for name, member in files_in(path):
        if is_one(PurePath(name)):
            found.append((name, member))
        elif name.endswith(".txt") or (name.endswith(".json") and key_of(name) not in texts):
            texts[key_of(name)] = name, member
    for name, _ in found:
        if key_of(name) not in texts:
            key = PurePath(key_of(name)).name
            raise ValueError(f"{path}: the {what} {name} has no caption; expected a member {key}.txt or {key}.json.")
    told = [texts[key_of(name)] for name, _ in found]
    captions = (_caption(Stretch(path, member.offset_data, member.size, name)) for name, member in told)
    held_out = np.array([is_held_out(caption) for caption in captions], dtype=bool)
    return CaptionedMembers(*Members.of(found), *Members.of(told), held_out, np.ones(len(found), dtype=np.int64))


def _caption(stretch: Stretch) -> str:
    """The caption in a member. Raises ValueError, naming it, where it holds none."""
    try:
        text = stretch.read().decode()
        return as_caption(json.loads(text)[FIELD] if stretch.member.endswith(".json") else text.strip())
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{stretch} holds no caption: {error!r}. Expected UTF-8, in JSON under {FIELD!r}.") from None


def as_caption(found: object) -> str:
    """A caption as it was read. Raises TypeError where it is no text, ValueError where UTF-8 does not have it."""
    if not isinstance(found, str):
        raise TypeError(f"{found!r} is no text")
    found.encode()
    return found

"""Images and videos with captions in tar files, as WebDataset, img2dataset and video2dataset write them.

The caption of `key.jpg` or `key.mp4` is the text in `key.txt`; or where there is none, that under "caption" in
`key.json`. Captions are read once before training, to find those that are held out. For a large tar the result is
kept in the cache.
"""

import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from pushforward.data.encoded import ByteRange, OnDemand, Shape
from pushforward.data.folders import ENDINGS, is_image
from pushforward.data.recordings import MOVIES, Recording, recorded
from pushforward.data.splits import check_captions, is_held_out
from pushforward.data.tars import files_in, found_once, key_of, members, shards
from pushforward.files import matching

FIELD = "caption"  # of a .json
VIDEOS = (*MOVIES, ".gif", ".webp")  # of the videos in tars


class CaptionedMembers(NamedTuple):
    """The images or videos of a tar that have captions. Members are those of `tars.members`."""

    members: np.ndarray
    texts: np.ndarray  # the members that hold the captions
    held_out: np.ndarray  # (n,) bool: whether the caption is
    frames: np.ndarray  # (n,) int64: of a video; 1 of an image


class Captions(OnDemand[str]):
    """Captions in members of tars."""

    def __init__(self, texts: OnDemand[ByteRange]):
        super().__init__(len(texts), lambda i: _caption(texts[i]))
        self.texts = texts

    def name(self, i: int) -> str:
        """Where caption i is stored."""
        return str(self.texts[i])


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


def read_images(paths: Sequence[Path], *, held_out: bool) -> tuple[OnDemand[ByteRange], Captions]:
    """The images of tars that are to be learned, or those held out, and their captions.

    Raises ValueError, naming the tar and the image, where one has no caption; and where there are no images.
    """
    kept = _kept(paths, _image_members, held_out, "image", ENDINGS)
    return shards(paths, [part.members for part in kept]), Captions(shards(paths, [part.texts for part in kept]))


def read_recordings(paths: Sequence[Path], image: Shape, *, held_out: bool) -> tuple[OnDemand[Recording], Captions]:
    """The videos of tars that are to be learned, or those held out, and their captions: as `read_images`."""
    kept = _kept(paths, _video_members, held_out, "video", VIDEOS)
    frames, places = np.concatenate([part.frames for part in kept]), shards(paths, [part.members for part in kept])
    videos = OnDemand(len(places), lambda i: recorded(places[i], image, int(frames[i])))
    return videos, Captions(shards(paths, [part.texts for part in kept]))


def _kept(
    paths: Sequence[Path],
    find: Callable[[Path], CaptionedMembers],
    held_out: bool,
    what: str,
    endings: Sequence[str],
) -> list[CaptionedMembers]:
    """What is to be learned of the members of tars, or what is held out. Raises ValueError where there is nothing."""
    parts = [found_once(path, CaptionedMembers, find) for path in paths]
    if not sum(len(part.members) for part in parts):
        whole = ", ".join(map(str, paths))
        raise ValueError(f"there are no {what}s in {whole}: no member ends in {', '.join(endings)}.")
    kept = [CaptionedMembers(*(array[part.held_out == held_out] for array in part)) for part in parts]
    check_captions(sum(len(part.members) for part in kept), paths[0], held_out=held_out)
    return kept


def _image_members(path: Path) -> CaptionedMembers:
    """Read all headers and captions of a tar of images."""
    return _members(path, "image", is_image)


def _video_members(path: Path) -> CaptionedMembers:
    """Read all headers and captions of a tar of videos, and open each video."""
    found = _members(path, "video", lambda name: name.suffix.lower() in VIDEOS)
    frames = [len(recorded(place).rows) for place in shards([path], [found.members])]
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
    told = members([texts[key_of(name)] for name, _ in found])
    held_out = np.array([is_held_out(caption) for caption in Captions(shards([path], [told]))], dtype=bool)
    return CaptionedMembers(members(found), told, held_out, np.ones(len(found), dtype=np.int64))


def _caption(place: ByteRange) -> str:
    """The caption in a member. Raises ValueError, naming it, where it holds none."""
    try:
        text = place.read().decode()
        return as_caption(json.loads(text)[FIELD] if place.member.endswith(".json") else text.strip())
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place} holds no caption: {error!r}. Expected UTF-8, in JSON under {FIELD!r}.") from None


def as_caption(found: object) -> str:
    """A caption as it was read. Raises TypeError where it is no text, ValueError where UTF-8 does not have it."""
    if not isinstance(found, str):
        raise TypeError(f"{found!r} is no text")
    found.encode()
    return found

"""Images in tar files, such as the shards of WebDataset: found once, and read when they are indexed.

The class of an image is its innermost folder; or a member `key.cls` holds the class of `key.png` as a number, as in
WebDataset. To find the members of a tar its headers are read, one after the other. Where they are found in a large
tar is kept in the cache, so that the next process, or the next of several, reads that.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import torch

from pushforward.data.data import naming
from pushforward.data.encoded import Blobs, Encoded, Shape
from pushforward.data.folders import ENDINGS, Stretch, is_image, numbered
from pushforward.data.images import Images, from_zero
from pushforward.files import cache_folder, made_once

FORMAT = 1  # of what is kept
LARGE = 10_000_000  # bytes of a tar whose members are kept
LONGEST = 32  # bytes that are kept of a .cls


class Members(NamedTuple):
    """The images of a tar, in its order."""

    names: np.ndarray  # (n,) bytes, UTF-8
    offsets: np.ndarray  # (n,) int64, of their first bytes
    sizes: np.ndarray  # (n,) int64
    numbered: np.ndarray  # (n,) bool: whether the tar has a .cls of the same key
    numbers: np.ndarray  # (n,) bytes: what it holds


class Shards(Blobs):
    """The images of tars, one tar after the other."""

    def __init__(self, paths: Sequence[Path], members: Sequence[Members]):
        self.paths, self.members = paths, members
        self.ends = [*accumulate(len(part.names) for part in members)]

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def read(self, i: int) -> bytes:
        return self._stretch(i).read()

    def name(self, i: int) -> str:
        return str(self._stretch(i))

    def _stretch(self, i: int) -> Stretch:
        shard = bisect_right(self.ends, i)
        part = self.members[shard]
        row = i - self.ends[shard] + len(part.names)
        return Stretch(self.paths[shard], int(part.offsets[row]), int(part.sizes[row]), _text(part.names[row]))


def read_tars(paths: Sequence[Path], *, beside: Sequence[Path] = (), image: Shape | None = None) -> Images:
    """The images in tars, in the order of the tars and of their members."""
    shards, others = (Shards(some, [*map(members_of, some)]) for some in (paths, beside))
    whole = ", ".join(map(str, paths))
    if not len(shards):
        raise ValueError(f"there are no images in {whole}: no member ends in {', '.join(ENDINGS)}.")
    with naming(whole):
        if any(part.numbered.any() for part in shards.members):
            labels = torch.tensor([*_classes(shards)], device="cpu")
            labels, names = from_zero(labels, [*_classes(others)])
        else:
            labels, names = numbered([*_folders(shards)], [*_folders(others)])
    return Images(Encoded(shards, image=image), labels, classes=len(names), names=names)


def members_of(path: Path) -> Members:
    """The images of a tar, from the cache where they are there; those of a large tar are put there.

    They are kept by the tar's place, size, and times of modification and of change: tars of one size that are put in
    its place may have one time of modification. Where the cache cannot be written they are found again.
    """
    found = path.stat()
    if found.st_size < LARGE:
        return _found(path)
    key = repr((FORMAT, str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    try:
        return _kept(cache_folder() / "tars" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz", path)
    except OSError:
        return _found(path)


def _kept(file: Path, path: Path) -> Members:
    """What the file holds of a tar. It is made where it is missing."""

    def make(begun: Path) -> None:
        found = _found(path)
        with begun.open("wb") as opened:
            np.savez(opened, **found._asdict())

    with np.load(made_once(file, make)) as arrays:
        return Members(**arrays)


def _found(path: Path) -> Members:
    """Read all headers of a tar."""
    images: list[tuple[str, tarfile.TarInfo]] = []
    classes: dict[str, bytes] = {}
    for name, member in _files(path):
        if name.endswith(".cls"):
            classes[_key(name)] = Stretch(path, member.offset_data, min(member.size, LONGEST)).read()
        elif is_image(PurePath(name)):
            images.append((name, member))
    numbers = [classes.get(_key(name)) for name, _ in images]
    return Members(
        np.array([name.encode(errors="surrogateescape") for name, _ in images], dtype=np.bytes_),
        np.array([member.offset_data for _, member in images], dtype=np.int64),
        np.array([member.size for _, member in images], dtype=np.int64),
        np.array([number is not None for number in numbers], dtype=bool),
        np.array([number or b"" for number in numbers], dtype=np.bytes_),
    )


def _files(path: Path) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The names in a tar, and the file of each. Raises ValueError where the tar is truncated, or a link leads nowhere.

    A tar ends in a block of zeros.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members, end = list(archive), archive.offset
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a complete, uncompressed tar: {error}. Make or download it again.") from error
    if Stretch(path, end, tarfile.BLOCKSIZE).read() != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"{path} is not a complete tar: it has no end mark at byte {end}. Make or download it again.")
    named = {member.name: member for member in members}
    for member in members:
        target = _target(member, named)
        if target is not None and target.isreg():
            yield member.name, target
        elif target is not member and (target is not None or is_image(PurePath(member.name))):
            raise ValueError(
                f"{path} has a link {member.name} to {member.linkname}, which is no file in it. Make it again "
                "with tar's option --dereference."
            )


def _target(member: tarfile.TarInfo, named: Mapping[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """What a link leads to in the same tar, or the member itself; None where it leads nowhere."""
    target: tarfile.TarInfo | None = member
    for _ in range(len(named) + 1):
        if target is None or not (target.islnk() or target.issym()):
            return target
        beside = "" if target.islnk() else posixpath.dirname(target.name)
        target = named.get(posixpath.normpath(posixpath.join(beside, target.linkname)))
    return None


def _key(name: str) -> str:
    folder, file = PurePath(name).parent, PurePath(name).name
    return str(folder / file.split(".")[0])


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _folders(shards: Shards) -> Iterator[PurePath]:
    """The innermost folder of each image; folders above it name the tar or its split."""
    place: Callable[[str], PurePath] = cache(lambda parent: PurePath(PurePath(parent).name))
    return (place(_text(name).rpartition("/")[0]) for part in shards.members for name in part.names)


def _classes(shards: Shards) -> Iterator[int]:
    """The number in the .cls of each image. Raises ValueError where an image has none."""
    for part in shards.members:
        for name, has, number in zip(part.names, part.numbered, part.numbers, strict=True):
            if not has or not number.strip().isdigit():
                told = f"a .cls of {bytes(number)!r}" if has else "no .cls"
                raise ValueError(
                    f"the image {_text(name)} has {told}; expected a .cls with a number for each image, or for none."
                )
            yield int(number)

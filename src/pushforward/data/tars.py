"""Images in tar files, such as the shards of WebDataset: found once, and read when they are indexed.

The class of an image is its innermost folder; or a member `key.cls` holds the class of `key.png` as a number, as in
WebDataset. To find the members of a tar its headers are read, one after the other. Where they are found in a large
tar is kept in the cache, so that the next process, or the next of several, reads that.
"""

import hashlib
import posixpath
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from pushforward.data.data import naming
from pushforward.data.encoded import ByteRange, Encoded, OnDemand, Shape
from pushforward.data.folders import ENDINGS, is_image, numbered
from pushforward.data.images import Images, from_zero
from pushforward.files import cache_folder, made_once

FORMAT = 2  # of what is kept
LARGE = 10_000_000  # bytes of a tar whose members are kept
LONGEST = 32  # bytes that are kept of a .cls

M = TypeVar("M", bound=Any)  # a NamedTuple of arrays


class ClassifiedMembers(NamedTuple):
    """The images of a tar, and their classes."""

    members: np.ndarray  # as of `members`
    numbers: np.ndarray  # (n,) bytes: what the .cls of the same key holds, b"" where the tar has none


def members(found: Sequence[tuple[str, tarfile.TarInfo]]) -> np.ndarray:
    """Members of a tar by name, as an array (n,) with the fields name, in UTF-8, offset of the first byte, and size."""
    rows = [(name.encode(errors="surrogateescape"), member.offset_data, member.size) for name, member in found]
    longest = max((len(name) for name, *_ in rows), default=1)
    return np.array(rows, dtype=[("name", f"S{longest}"), ("offset", np.int64), ("size", np.int64)])


def shards(paths: Sequence[Path], parts: Sequence[np.ndarray]) -> OnDemand[ByteRange]:
    """The `members` of tars, one tar after the other."""
    ends = [*accumulate(map(len, parts))]

    def member(i: int) -> ByteRange:
        shard = bisect_right(ends, i)
        name, offset, size = parts[shard][i - ends[shard] + len(parts[shard])].item()
        return ByteRange(paths[shard], offset, size, text_of(name))

    return OnDemand(ends[-1] if ends else 0, member)


def read_tars(paths: Sequence[Path], *, beside: Sequence[Path] = (), image: Shape | None = None) -> Images:
    """The images in tars, in the order of the tars and of their members."""
    found, others = ([found_once(path, ClassifiedMembers, _classified) for path in some] for some in (paths, beside))
    blobs, whole = shards(paths, [part.members for part in found]), ", ".join(map(str, paths))
    if not len(blobs):
        raise ValueError(f"there are no images in {whole}: no member ends in {', '.join(ENDINGS)}.")
    with naming(whole):
        if any((part.numbers != b"").any() for part in found):
            labels = torch.tensor([*_classes(found)], device="cpu")
            labels, names = from_zero(labels, [*_classes(others)])
        else:
            labels, names = numbered([*_folders(found)], [*_folders(others)])
    return Images(Encoded(blobs, image=image), labels, classes=len(names), names=names)


def found_once(path: Path, kind: Callable[..., M], find: Callable[[Path], M]) -> M:
    """What `find` finds in a tar, a `kind` of named arrays. What is found in a large tar is kept in the cache.

    It is kept by the tar's place, size, and times of modification and of change: tars of one size that are put in
    its place may have one time of modification. Where the cache cannot be written it is found again.
    """
    about = path.stat()
    if about.st_size < LARGE:
        return find(path)
    key = repr((FORMAT, find.__name__, str(path.resolve()), about.st_size, about.st_mtime_ns, about.st_ctime_ns))

    def make(begun: Path) -> None:
        found = find(path)
        with begun.open("wb") as opened:
            np.savez(opened, **found._asdict())

    try:
        file = made_once(cache_folder() / "tars" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz", make)
        with np.load(file) as arrays:
            return kind(**arrays)
    except OSError:
        return find(path)


def _classified(path: Path) -> ClassifiedMembers:
    """Read all headers of a tar."""
    images: list[tuple[str, tarfile.TarInfo]] = []
    classes: dict[str, bytes] = {}
    for name, member in files_in(path):
        if name.endswith(".cls"):
            classes[key_of(name)] = ByteRange(path, member.offset_data, min(member.size, LONGEST)).read()
        elif is_image(PurePath(name)):
            images.append((name, member))
    return ClassifiedMembers(
        members(images), np.array([classes.get(key_of(name), b"") for name, _ in images], dtype=np.bytes_)
    )


def files_in(path: Path) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The names in a tar, and the file of each. Raises ValueError where the tar is truncated, or a link leads nowhere.

    A tar ends in a block of zeros.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members, end = list(archive), archive.offset
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a complete, uncompressed tar: {error}. Make or download it again.") from error
    if ByteRange(path, end, tarfile.BLOCKSIZE).read() != bytes(tarfile.BLOCKSIZE):
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


def key_of(name: str) -> str:
    """The name of a member up to the first dot after its folder: members of one key belong together.

    >>> key_of("a.b/0001.rgb.png")
    'a.b/0001'
    """
    folder, file = PurePath(name).parent, PurePath(name).name
    return str(folder / file.split(".")[0])


def text_of(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _folders(parts: Sequence[ClassifiedMembers]) -> Iterator[PurePath]:
    """The innermost folder of each image; folders above it name the tar or its split."""
    place: Callable[[str], PurePath] = cache(lambda parent: PurePath(PurePath(parent).name))
    return (place(text_of(name).rpartition("/")[0]) for part in parts for name in part.members["name"])


def _classes(parts: Sequence[ClassifiedMembers]) -> Iterator[int]:
    """The number in the .cls of each image. Raises ValueError where an image has none."""
    for part in parts:
        for name, number in zip(part.members["name"], part.numbers, strict=True):
            if not number.strip().isdigit():
                told = f"a .cls of {bytes(number)!r}" if number else "no .cls"
                raise ValueError(
                    f"the image {text_of(name)} has {told}; expected a .cls with a number for each image, or for none."
                )
            yield int(number)

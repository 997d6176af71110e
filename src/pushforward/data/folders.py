"""Encoded images in folders and in tar files: whole files, and members of a tar.

Each folder is a class; where no image is in a folder there are no classes. Classes are numbered in the order of
their folders' names. In a tar, a member `key.cls` may hold the class of `key.png` as a number instead, as in
WebDataset. The splits of a set share their classes, so a reader also takes the paths of the other splits, `beside`.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.data.data import naming
from pushforward.data.encoded import Blobs, Encoded, Shape
from pushforward.data.images import Images, from_zero

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class Stretch(NamedTuple):
    """`size` bytes of a file from `offset` on; a size of −1 is all of it."""

    file: Path
    offset: int = 0
    size: int = -1
    member: str = ""  # of a tar


class Stretches(Blobs):
    """Encoded images that are ranges of bytes in files."""

    def __init__(self, stretches: Sequence[Stretch]):
        self.stretches = stretches

    def __len__(self) -> int:
        return len(self.stretches)

    def read(self, i: int) -> bytes:
        file, offset, size, _ = self.stretches[i]
        with file.open("rb") as opened:  # opened each time, so that threads and processes share no file position
            opened.seek(offset)
            return opened.read(size)

    def name(self, i: int) -> str:
        stretch = self.stretches[i]
        return f"{stretch.file}, {stretch.member}" if stretch.member else str(stretch.file)


def read_images(path: Path, *, beside: Sequence[Path] = (), image: Shape | None = None) -> Images:
    """The images in a folder and the folders in it, in the order of their paths."""
    files, folders = _in_folder(path)
    if not files:
        raise ValueError(
            f"there are no images in {path}: no file in it or in its folders ends in {', '.join(ENDINGS)}."
        )
    with naming(path):
        labels, names = _numbered(folders, [folder for other in beside for folder in _in_folder(other)[1]])
    blobs = Stretches([Stretch(file) for file in files])
    return Images(Encoded(blobs, image=image), labels, classes=len(names), names=names)


def read_tars(paths: Sequence[Path], *, beside: Sequence[Path] = (), image: Shape | None = None) -> Images:
    """The images in tars, in the order of the tars and of their members."""
    stretches, numbers = _in_tars(paths)
    others, their_numbers = _in_tars(beside)
    whole = ", ".join(map(str, paths))
    if not stretches:
        raise ValueError(f"there are no images in {whole}: no member ends in {', '.join(ENDINGS)}.")
    with naming(whole):
        if numbers:
            labels = torch.tensor([_class(stretch, numbers) for stretch in stretches], device="cpu")
            labels, names = from_zero(labels, [_class(stretch, their_numbers) for stretch in others])
        else:
            labels, names = _numbered([_folder(s) for s in stretches], [_folder(s) for s in others])
    return Images(Encoded(Stretches(stretches), image=image), labels, classes=len(names), names=names)


def _in_folder(path: Path) -> tuple[list[Path], list[PurePath]]:
    """The image files in a folder, and the relative folder of each."""
    files = sorted(file for file in _files(path, frozenset()) if _is_image(file.relative_to(path)))
    return files, [file.relative_to(path).parent for file in files]


def _files(path: Path, above: frozenset[Path]) -> Iterator[Path]:
    """The files in a folder and in those below it. Symbolic links are followed, but not into a folder above."""
    place = path.resolve()
    if place not in above:
        for entry in path.iterdir():
            if entry.is_dir():
                yield from _files(entry, above | {place})
            else:
                yield entry


def _in_tars(paths: Sequence[Path]) -> tuple[list[Stretch], dict[tuple[Path, str], bytes]]:
    """The images in tars, and the contents of their .cls members, by tar and key."""
    stretches, classes = [], {}
    for path in paths:
        for name, member in _members(path):
            stretch = Stretch(path, member.offset_data, member.size, name)
            if name.endswith(".cls"):
                classes[path, _key(stretch)] = Stretches([stretch]).read(0)
            elif _is_image(PurePath(name)):
                stretches.append(stretch)
    return stretches, classes


def _members(path: Path) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The names in a tar, and the file of each. Raises ValueError where the tar is truncated, or a link leads nowhere.

    A tar ends in a block of zeros.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members, end = list(archive), archive.offset
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a complete, uncompressed tar: {error}. Make or download it again.") from error
    if Stretches([Stretch(path, end, tarfile.BLOCKSIZE)]).read(0) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"{path} is not a complete tar: it has no end mark at byte {end}. Make or download it again.")
    named = {member.name: member for member in members}
    for member in members:
        target = _target(member, named)
        if target is not None and target.isreg():
            yield member.name, target
        elif target is not member and (target is not None or _is_image(PurePath(member.name))):
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


def _is_image(path: PurePath) -> bool:
    return path.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in path.parts)


def _folder(member: Stretch) -> PurePath:
    """The innermost folder of a member; folders above it name the tar or its split."""
    return PurePath(PurePath(member.member).parent.name)


def _key(member: Stretch) -> str:
    folder, name = PurePath(member.member).parent, PurePath(member.member).name
    return str(folder / name.split(".")[0])


def _class(member: Stretch, numbers: dict[tuple[Path, str], bytes]) -> int:
    number = numbers.get((member.file, _key(member)))
    if number is None or not number.strip().isdigit():
        has = "no .cls" if number is None else f"a .cls of {number!r}"
        raise ValueError(
            f"the image {member.member} has {has}; expected a .cls with a number for each image, or for none."
        )
    return int(number)


def _numbered(folders: list[PurePath], elsewhere: list[PurePath]) -> tuple[Tensor | None, tuple[str, ...]]:
    """The class of each image, by its folder, and the names of the classes; none where no image is in a folder."""
    names = {*folders, *elsewhere}
    if names == {PurePath()}:
        return None, ()
    if PurePath() in names:
        raise ValueError(
            f"some images are in folders, which are classes, such as {max(names)}, and others are not. "
            "Put each into the folder of its class, or all into one folder."
        )
    numeric = all(str(name).isdecimal() for name in names)
    order = sorted(names, key=(lambda name: int(name.name)) if numeric else None)  # as numbers: 2 comes before 10
    number = {name: i for i, name in enumerate(order)}
    labels = torch.tensor([number[folder] for folder in folders], device="cpu")
    return labels, tuple(name.as_posix() for name in order)

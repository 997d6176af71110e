"""Encoded images in folders and in tar files: stretches of files, a whole file or a member of a tar.

Images in the same folder are of the same class, and where all lie in one folder there are no classes. Classes are
numbered in the order of their folders' names. In a tar, a member `key.cls` may hold the class of `key.png` as a number,
as WebDataset has it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch

from pushforward.data.encoded import Blobs, Encoded, Shape
from pushforward.data.images import Images

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class Stretch(NamedTuple):
    """`size` bytes of a file from `offset` on; a size of −1 is all of it."""

    file: Path
    offset: int = 0
    size: int = -1
    member: str = ""  # of a tar


class Stretches(Blobs):
    """Encoded images that are stretches of files."""

    def __init__(self, stretches: Sequence[Stretch]):
        self.stretches = stretches

    def __len__(self) -> int:
        return len(self.stretches)

    def read(self, i: int) -> bytes:
        file, offset, size, _ = self.stretches[i]
        with file.open("rb") as opened:  # anew each time: nothing to share between threads or processes
            opened.seek(offset)
            return opened.read(size)

    def name(self, i: int) -> str:
        stretch = self.stretches[i]
        return f"{stretch.file}, {stretch.member}" if stretch.member else str(stretch.file)


def read_images(path: Path, *, image: Shape | None = None) -> Images:
    """The images in a folder and the folders in it, in the order of their paths."""
    files = sorted(file for file in path.rglob("*") if _is_image(file.relative_to(path)))
    if not files:
        raise ValueError(
            f"there are no images in {path}: no file in it or in its folders ends in {', '.join(ENDINGS)}."
        )
    labels = _numbered([str(file.relative_to(path).parent) for file in files], path)
    return _images([Stretch(file) for file in files], labels, image)


def read_tars(paths: Sequence[Path], *, image: Shape | None = None) -> Images:
    """The images in tar files, in the order of the files and of their members."""
    stretches, classes = [], {}
    for path in paths:
        for member in _members(path):
            name, stretch = PurePath(member.name), Stretch(path, member.offset_data, member.size, member.name)
            if name.suffix == ".cls":
                classes[path, _key(name)] = Stretches([stretch]).read(0)
            elif _is_image(name):
                stretches.append(stretch)
    whole = ", ".join(map(str, paths))
    if not stretches:
        raise ValueError(f"there are no images in {whole}: no member ends in {', '.join(ENDINGS)}.")
    if not classes:
        labels = _numbered([str(PurePath(stretch.member).parent) for stretch in stretches], whole)
        return _images(stretches, labels, image)
    try:
        labels = [int(classes[stretch.file, _key(PurePath(stretch.member))]) for stretch in stretches]
    except KeyError as missing:
        path, key = missing.args[0]
        raise ValueError(f"in {path}, the image {key} has no class {key}.cls beside it, as others have.") from None
    return _images(stretches, labels, image)


def _images(stretches: list[Stretch], labels: list[int] | None, image: Shape | None) -> Images:
    images = Encoded(Stretches(stretches), image=image)
    return Images(images) if labels is None else Images(images, torch.tensor(labels), classes=max(labels) + 1)


def _is_image(path: PurePath) -> bool:
    return path.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in path.parts)


def _key(name: PurePath) -> str:
    return str(name.parent / name.name.split(".")[0])


def _numbered(folders: list[str], whole: object) -> list[int] | None:
    """The class of each image, from the folder it lies in; None where they all lie in one."""
    names = set(folders)
    if len(names) == 1:
        return None
    if "." in names:
        raise ValueError(
            f"in {whole} some images lie in folders, which are classes, such as {max(names)}, and others beside them. "
            "Move them into a folder, or all into one."
        )
    order = sorted(names, key=int if all(name.isdecimal() for name in names) else None)  # 2 before 10
    number = {name: i for i, name in enumerate(order)}
    return [number[folder] for folder in folders]


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The files in a tar, which must be whole: it ends in a block of zeros."""
    try:
        with tarfile.open(path, "r:") as archive:
            yield from (member for member in archive if member.isreg())
            end = archive.offset
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a whole, uncompressed tar: {error}. Make or fetch it again.") from error
    if Stretches([Stretch(path, end, tarfile.BLOCKSIZE)]).read(0) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(
            f"{path} is not a whole tar: it ends at byte {end} without the mark of an end. Fetch it again."
        )

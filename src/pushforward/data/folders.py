"""Encoded images in folders and in tar files: stretches of files, a whole file or a member of a tar.

Images in the same folder are of the same class, and where all lie in one folder there are no classes. Classes are
numbered in the order of their folders' names. In a tar, a member `key.cls` may hold the class of `key.png` as a number
instead, as WebDataset has it. The splits of a set have the same classes: a reader is told what lies `beside` its own.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.data.data import naming
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


def read_images(path: Path, *, beside: Sequence[Path] = (), image: Shape | None = None) -> Images:
    """The images in a folder and the folders in it, in the order of their paths."""
    files, folders = _in_folder(path)
    if not files:
        raise ValueError(
            f"there are no images in {path}: no file in it or in its folders ends in {', '.join(ENDINGS)}."
        )
    with naming(path):
        labels, classes = _numbered(folders, [folder for other in beside for folder in _in_folder(other)[1]])
    return Images(Encoded(Stretches([Stretch(file) for file in files]), image=image), labels, classes=classes)


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
            classes = 1 + max([int(labels.max()), *(_class(stretch, their_numbers) for stretch in others)])
        else:
            labels, classes = _numbered([_folder(s) for s in stretches], [_folder(s) for s in others])
    return Images(Encoded(Stretches(stretches), image=image), labels, classes=classes)


def _in_folder(path: Path) -> tuple[list[Path], list[PurePath]]:
    """The image files in a folder, and the folder each lies in, as seen from there."""
    files = sorted(file for file in path.rglob("*") if _is_image(file.relative_to(path)))
    return files, [file.relative_to(path).parent for file in files]


def _in_tars(paths: Sequence[Path]) -> tuple[list[Stretch], dict[tuple[Path, str], bytes]]:
    """The images in tars, and what their members .cls hold, by tar and key."""
    stretches, classes = [], {}
    for path in paths:
        for member in _members(path):
            stretch = Stretch(path, member.offset_data, member.size, member.name)
            if member.name.endswith(".cls"):
                classes[path, _key(stretch)] = Stretches([stretch]).read(0)
            elif _is_image(PurePath(member.name)):
                stretches.append(stretch)
    return stretches, classes


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The files in a tar, which must be whole: it ends in a block of zeros."""
    try:
        with tarfile.open(path, "r:") as archive:
            yield from (member for member in archive if member.isreg())
            end = archive.offset
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a whole, uncompressed tar: {error}. Make or fetch it again.") from error
    if Stretches([Stretch(path, end, tarfile.BLOCKSIZE)]).read(0) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"{path} is not a whole tar: it has no end mark at byte {end}. Make or fetch it again.")


def _is_image(path: PurePath) -> bool:
    return path.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in path.parts)


def _folder(member: Stretch) -> PurePath:
    """The innermost folder alone: what lies above it names the tar or its split."""
    return PurePath(PurePath(member.member).parent.name)


def _key(member: Stretch) -> str:
    folder, name = PurePath(member.member).parent, PurePath(member.member).name
    return str(folder / name.split(".")[0])


def _class(member: Stretch, numbers: dict[tuple[Path, str], bytes]) -> int:
    number = numbers.get((member.file, _key(member)))
    if number is None or not number.strip().isdigit():
        has = "no .cls" if number is None else f"a .cls of {number!r}"
        raise ValueError(f"the image {member.member} has {has} beside it; expected a number, for each or for none.")
    return int(number)


def _numbered(folders: list[PurePath], elsewhere: list[PurePath]) -> tuple[Tensor | None, int]:
    """The class of each image, from the folder it lies in, and how many there are; none where all lie in one folder."""
    names = {*folders, *elsewhere}
    if len(names) == 1:
        return None, 0
    if PurePath() in names:
        raise ValueError(
            f"some images lie in folders, which are classes, such as {max(names)}, and others beside them. "
            "Put each into the folder of its class, or all into one."
        )
    numeric = all(str(name).isdecimal() for name in names)
    order = sorted(names, key=(lambda name: int(name.name)) if numeric else None)  # 2 before 10
    number = {name: i for i, name in enumerate(order)}
    return torch.tensor([number[folder] for folder in folders], device="cpu"), len(order)

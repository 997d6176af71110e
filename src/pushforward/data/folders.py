"""Encoded images in folders.

Each folder is a class; where no image is in a folder there are no classes. Classes are numbered in the order of
their folders' names. The splits of a set share their classes, so a reader also takes the paths of the other splits,
`beside`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from torch import Tensor

from pushforward.data.data import naming
from pushforward.data.encoded import ByteRange, Encoded, Shape
from pushforward.data.images import Images, from_names

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def read_images(path: Path, *, beside: Sequence[Path] = (), image: Shape | None = None) -> Images:
    """The images in a folder and the folders in it, in the order of their paths."""
    files, folders = _in_folder(path)
    if not files:
        raise ValueError(
            f"there are no images in {path}: no file in it or in its folders ends in {', '.join(ENDINGS)}."
        )
    with naming(path):
        labels, names = numbered(folders, [folder for other in beside for folder in _in_folder(other)[1]])
    return Images(Encoded([*map(ByteRange, files)], image=image), labels, classes=len(names), names=names)


def _in_folder(path: Path) -> tuple[list[Path], list[PurePath]]:
    """The image files in a folder, and the relative folder of each."""
    files = files_of(path, ENDINGS)
    return files, [file.relative_to(path).parent for file in files]


def files_of(path: Path, endings: Sequence[str]) -> list[Path]:
    """The files with these endings in a folder and in those below it, in the order of their paths; no hidden ones.

    Symbolic links are followed, but not into a folder above.
    """
    return sorted(file for file in _files(path, frozenset()) if is_of(file.relative_to(path), endings))


def _files(path: Path, above: frozenset[Path]) -> Iterator[Path]:
    place = path.resolve()
    if place not in above:
        for entry in path.iterdir():
            if entry.is_dir():
                yield from _files(entry, above | {place})
            else:
                yield entry


def is_of(path: PurePath, endings: Sequence[str]) -> bool:
    """Whether a path has one of these endings, in small or capital letters, and no part of it is hidden."""
    return path.suffix.lower() in endings and not any(part.startswith(".") for part in path.parts)


def is_image(path: PurePath) -> bool:
    return is_of(path, ENDINGS)


def numbered(folders: list[PurePath], elsewhere: list[PurePath]) -> tuple[Tensor | None, tuple[str, ...]]:
    """The class of each image, by its folder, and the names of the classes; none where no image is in a folder."""
    names = {*folders, *elsewhere}
    if names == {PurePath()}:
        return None, ()
    if PurePath() in names:
        raise ValueError(
            f"some images are in folders, which are classes, such as {max(names)}, and others are not. "
            "Put each into the folder of its class, or all into one folder."
        )
    return from_names([folder.as_posix() for folder in folders], [folder.as_posix() for folder in elsewhere])

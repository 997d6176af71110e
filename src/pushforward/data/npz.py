"""Sets in `.npz` files: arrays by name, and packs of images in lossless WebP.

A pack stacks its images vertically in strips. Its arrays: `webp`, the bytes of all strips; `offsets`, the start of each
strip and the end of the last; `shape`, (n, H, W) or (n, H, W, 3); optionally `labels`, and `classes`, their names.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushforward.arrays import as_tensor
from pushforward.data.data import Arrays, naming
from pushforward.data.encoded import Shape, stacked
from pushforward.data.images import Images, from_names, from_zero
from pushforward.data.splits import REMEDY, NoSplitError, words_of
from pushforward.files import data_folder

IMAGES, LABELS = ("images", "x"), ("labels", "y")  # names of arrays
NAMES = ("classes", "class_names", "label_names")  # arrays of the names of classes


def read_npz(path: Path, split: str, *, image: Shape | None = None) -> Images | Arrays:
    """Read a pack, or arrays `images` and `labels`, or `x` and `y`; those of a split are `x_test` or `test_x`.

    Integers (n, H, W), (n, C, H, W) or (n, H, W, C) are images; an `x` of real numbers (n, features) makes Arrays.
    """
    with reading(path) as arrays:
        if "webp" in arrays and split == "train":
            return _images([_unpacked(arrays)], image)
        events, given = _pick(arrays, IMAGES, split), _pick(arrays, LABELS, split)
        if events is None:
            listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            expected = f"images_{split} or x_{split}" + (", or just images or x" if split == "train" else "")
            remedy = "" if split == "train" else f" {REMEDY}"
            raise NoSplitError(f"it holds {listed}. For the split {split!r}, expected {expected}.{remedy}")
        if events.ndim == 2 and events.dtype.kind == "f":
            return Arrays(_real(events), None if given is None else _real(given))
        return _images([_contents(arrays, events, given)], image)


def find_pack(name: str) -> Path:
    """The path of a pack: as it is given, or of a name without an ending, where no such path is, in the folder of data.

    Raises FileNotFoundError where there is none.
    """
    path = Path(name)
    if not path.suffix and not path.exists():
        path = data_folder() / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}. Set PUSHFORWARD_DATA to the folder that holds {path.name}, or give its path."
        )
    return path


def read_packs(paths: Sequence[Path], split: str, *, image: Shape | None = None) -> Images:
    """The images of packs, or of arrays by name, concatenated and decoded into memory."""
    parts = []
    for path in paths:
        with reading(path) as arrays:
            parts.append(_unpacked(arrays) if "webp" in arrays else _of_split(arrays, split))
    with naming(", ".join(map(str, paths))):
        return _images(parts, image)


class Contents(NamedTuple):
    """The images in a file."""

    pixels: np.ndarray
    labels: np.ndarray | None
    elsewhere: list[np.ndarray]  # the distinct labels of each split
    names: tuple[str, ...]  # of the classes, where the file has them


def _contents(arrays: Mapping[str, np.ndarray], pixels: np.ndarray, labels: np.ndarray | None) -> Contents:
    elsewhere = [np.unique(arrays[name]) for name in arrays if {*LABELS}.intersection(name.split("_"))]
    names = next((arrays[name] for name in NAMES if name in arrays and arrays[name].ndim == 1), np.array(()))
    return Contents(pixels, labels, elsewhere, tuple(map(str, as_text(names).tolist())))


def as_text(array: np.ndarray) -> np.ndarray:
    """An array of bytes as one of text, by UTF-8; others as they are."""
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _of_split(arrays: Mapping[str, np.ndarray], split: str) -> Contents:
    """The images of a split, or those without one, from a file named after its split."""
    for name in (split, "train"):
        events = _pick(arrays, IMAGES, name)
        if events is not None:
            return _contents(arrays, events, _pick(arrays, LABELS, name))
    raise ValueError(f"it holds {', '.join(arrays)}; expected images or x, and labels or y.")


def _unpacked(pack: Mapping[str, np.ndarray]) -> Contents:
    from PIL import Image

    webp, offsets, shape = pack["webp"].tobytes(), pack["offsets"].tolist(), pack["shape"].tolist()
    strips = []
    for start, stop in zip(offsets, offsets[1:], strict=False):
        with Image.open(io.BytesIO(webp[start:stop])) as strip:
            strips.append(np.asarray(strip.convert("L" if len(shape) == 3 else "RGB")).reshape(-1, *shape[1:]))
    return _contents(pack, np.concatenate(strips), pack.get("labels"))


def _images(parts: Sequence[Contents], image: Shape | None) -> Images:
    """The images of these parts."""
    pixels = np.concatenate([part.pixels for part in parts])
    labels, names = _classes(parts)
    _check_integers("images", pixels)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    elif pixels.ndim == 4 and pixels.shape[1] in (1, 3):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise ValueError(
            f"images are (n, H, W), (n, C, H, W) or (n, H, W, C) with 1 or 3 channels; these are {pixels.shape}."
        )
    if pixels.size and not 0 <= pixels.min() <= pixels.max() < 256:
        raise ValueError(f"pixels are integers 0 … 255; these go from {pixels.min()} to {pixels.max()}.")
    return Images(stacked(pixels.astype(np.uint8, copy=False), image), labels, classes=len(names), names=names)


def _classes(parts: Sequence[Contents]) -> tuple[Tensor | None, tuple[str, ...]]:
    """The labels of these parts and the names of their classes: a label is a number or a name, in a column or not.

    Numbers that start at 1 in all parts and splits are lowered by 1.
    """
    given = [part.labels for part in parts if part.labels is not None]
    if len(given) < len(parts):
        return None, ()
    labels = as_text(np.concatenate(given))
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    elsewhere = [as_text(found) for part in parts for found in part.elsewhere]
    if labels.dtype.kind == "U" and labels.ndim == 1:
        return from_names(labels.tolist(), [str(name) for found in elsewhere for name in found.tolist()])
    ends = [int(end) for found in elsewhere if found.dtype.kind in "iu" and found.size for end in found[[0, -1]]]
    _check_integers("labels", labels)
    found, names = from_zero(torch.from_numpy(labels.astype(np.int64)), ends)
    return found, parts[0].names or names


def _check_integers(name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "iu":
        nan = ", some of them NaN" if values.dtype.kind == "f" and np.isnan(values).any() else ""
        raise ValueError(f"{name} are integers; these are {values.dtype}{nan}. {_as_stored(name, values)}")


def _as_stored(name: str, values: np.ndarray) -> str:
    """How to store what is not of an integer type, as a sentence."""
    least, most = (float(values.min()), float(values.max())) if values.dtype.kind in "fb" and values.size else (0, 255)
    if name != "images" or not (-1 <= least <= most <= 1):
        return "Store them as uint8 or int64."
    scaled = "255 * x" if least >= 0 else "127.5 * (x + 1)"
    return f"They go from {least:g} to {most:g}: store ({scaled}).round().astype('uint8')."


def _real(values: np.ndarray) -> Tensor:
    """Real numbers in torch's default dtype; integers, which may be labels, stay as they are."""
    tensor = as_tensor(values, "an array of vectors")
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _pick(arrays: Mapping[str, np.ndarray], kinds: Sequence[str], split: str) -> np.ndarray | None:
    """The first array of these kinds and this split; an array whose name has no split is of "train"."""
    own = kinds if split == "train" else ()
    words = [f"{a}_{b}" for word in words_of(split) for kind in kinds for a, b in ((kind, word), (word, kind))]
    return next((arrays[name] for name in (*words, *own) if name in arrays), None)


@contextmanager
def reading(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a file, each read when it is indexed; errors inside the context name the file."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not a complete .npz file. Make or download it again.")
        with zipfile.ZipFile(path) as archive:
            if others := [name for name in archive.namelist() if not name.endswith(".npy")]:
                raise ValueError(f"it holds {others[0]}, which is no array: it is another kind of archive.")
        with np.load(path) as arrays:
            yield arrays
    except NoSplitError as error:
        raise NoSplitError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        objects = (
            "Object arrays, of Python's objects, are not read: store numbers by astype(float), text by astype(str)"
        )
        raise ValueError(f"{path}: {objects if 'allow_pickle' in str(error) else error}") from error

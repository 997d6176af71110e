"""Data sets by name or path.

`digits.npz` holds the 1,797 handwritten digits of 8 × 8 pixels and 17 grey levels that scikit-learn ships, the test
part of "Optical Recognition of Handwritten Digits": E. Alpaydin, C. Kaynak, UCI 1998, doi:10.24432/C50P49, CC BY 4.0.
"""

import difflib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from pushforward.data.arrow import read_hugging_face, read_parquet
from pushforward.data.data import Data
from pushforward.data.encoded import Shape
from pushforward.data.folders import read_images
from pushforward.data.images import Images
from pushforward.data.npz import read_npz, read_packs
from pushforward.data.splits import KNOWN, REMEDY, WORDS, NoSplitError, chosen, split_in
from pushforward.data.tars import read_tars
from pushforward.files import data_folder, fixed_part, is_pattern, matching

PACKS = ("mnist", "fashion_mnist", "cifar10")
NAMED = ("digits", *PACKS)  # sets that are found by name
READERS = {".tar": read_tars, ".parquet": read_parquet}  # of sets in one file or several


def find(name_or_path: str | Path, split: str = "train", *, image: Sequence[int] | None = None) -> Data:
    """Find a data set by its name, or read it from a file or folder.

        digits, mnist, fashion_mnist, cifar10   by name; all but digits from the folder that PUSHFORWARD_DATA names
        set.npz                                 arrays `images` and `labels`, or `x` and `y`; or a pack
        set.tar, set.parquet                    encoded images and labels
        folder                                  of images, of folders (one a class), of .tar or of .parquet files
        shards/*.tar, */train.tar               the .tar or .parquet files that a pattern matches
        hf:owner/name, hf:folder                by the Hugging Face library `datasets`, from the hub or a folder

    The splits of a folder are its subfolders of those names, or its files with those words in their names; "val" and
    "valid" are short for "validation", which is also taken where "test" is asked for and there is none. A set without
    splits is "train": "test" then raises `NoSplitError`, a ValueError. Given `image`, (C, H, W), images are scaled to
    cover it, cropped to its centre, and made grey or colour. Raises FileNotFoundError where nothing is found, and
    ValueError, naming the file, where it cannot be used.
    """
    shape = None if image is None else _shape(image)
    name = str(name_or_path)
    if name == "digits":
        found = digits(split)
        if shape not in (None, found.image):
            raise ValueError(f"the digits have shape {found.image}, and are not resized; got image={shape}.")
        return found
    if name in PACKS:
        return _named(name, split, shape)
    if name.startswith("hf:"):
        return read_hugging_face(name[3:], split, image=shape)
    return _read(Path(name_or_path), split, shape)


def digits(split: str) -> Images:
    """The handwritten digits: "test" is every fifth image (360), "train" the other 1,437. Writers may be in both.

    >>> digits("test").images.shape
    torch.Size([360, 1, 8, 8])
    """
    if split not in ("train", "test"):
        raise ValueError(f'the digits have the splits "train" and "test"; got {split!r}.')
    with (files("pushforward.data") / "digits.npz").open("rb") as file:
        arrays = np.load(file)
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]).long()
    held_out = torch.arange(len(images), device="cpu") % 5 == 0
    rows = held_out if split == "test" else ~held_out
    return Images(images[rows, None], labels[rows], levels=17, classes=10)


def _shape(image: Sequence[int]) -> Shape:
    if len(image) != 3 or image[0] not in (1, 3) or min(image) < 1:
        raise ValueError(f"image is (C, H, W), of 1 or 3 channels; got {tuple(image)}.")
    channels, height, width = image
    return channels, height, width


def _named(name: str, split: str, image: Shape | None) -> Data:
    """A set with a name: packs or arrays, in one file a split, in several numbered ones, or all splits in one."""
    if split not in ("train", "test"):
        raise NoSplitError(f'{name} has the splits "train" and "test"; got {split!r}.')
    folder = data_folder()
    found = sorted(file for file in folder.glob("*.npz") if file.stem.rstrip("0123456789") == f"{name}_{split}")
    whole = folder / f"{name}.npz"
    if not found and whole.exists():
        return read_npz(whole, split, image=image)
    if not found:
        raise FileNotFoundError(
            f"there is no {name}_{split}.npz in {folder}. Set PUSHFORWARD_DATA to the folder that holds it."
        )
    return read_packs(found, split, image=image)


def _read(path: Path, split: str, image: Shape | None) -> Data:
    if path.is_dir():
        return _read_folder(path, split, image)
    if is_pattern(path):
        return _read_parts(matching(path), split, path, image)
    if not path.exists():
        near = difflib.get_close_matches(path.name, NAMED, 1)
        raise FileNotFoundError(
            f"there is no file or folder {path}, and the data sets with a name are digits, {', '.join(PACKS)}."
            + (f" Did you mean {near[0]}?" if near else "")
        )
    kind = path.suffix.lower()
    if kind == ".npz":
        return read_npz(path, split, image=image)
    if kind not in READERS:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected a folder, .npz, .tar or .parquet.")
    _check_only_train(path, split)
    return READERS[kind]([path], image=image)


def _read_parts(parts: list[Path], split: str, whole: Path, image: Shape | None) -> Images:
    """The parts of a set that are in this split: all .tar, or all .parquet."""
    if not parts:
        raise FileNotFoundError(f"no file matches {whole}.")
    kinds = {part.suffix for part in parts}
    if len(kinds) > 1 or not kinds <= READERS.keys():
        raise ValueError(f"{whole} has {parts[0].name} … {parts[-1].name}; expected .tar alone, or .parquet alone.")
    part, others = _split(parts, split, whole)
    return READERS[kinds.pop()](part, beside=others, image=image)


def _read_folder(path: Path, split: str, image: Shape | None) -> Images:
    if parts := sorted(part for kind in READERS for part in path.glob(f"*{kind}")):
        return _read_parts(parts, split, path, image)
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    splits = {folder.name: KNOWN.get(folder.name.lower()) for folder in folders}
    if None in splits.values() and "train" in splits.values() and len({*splits.values()}) > 2:
        named, extra = (
            ", ".join(name for name, found in splits.items() if bool(found) is has) for has in (True, False)
        )
        raise ValueError(f"{path} holds splits, {named}, and another folder, {extra}. Move that elsewhere.")
    if folders and None not in splits.values():
        part, others = _split(sorted(folders), split, path)
        if len(part) > 1:
            both = " and ".join(folder.name for folder in part)
            raise ValueError(f"{path} has two folders of one split, {both}. Put their images into one.")
        return read_images(part[0], beside=others, image=image)
    _check_only_train(path, split)
    return read_images(path, image=image)


def _split(parts: list[Path], split: str, whole: Path) -> tuple[list[Path], list[Path]]:
    """The parts with the split's name in theirs, or in a folder that a pattern matched, and the others. Where no part
    names a split, all are "train"."""
    root = fixed_part(whole)
    names = {part: split_in(str(part.relative_to(root).with_suffix(""))) for part in parts}
    if not any(names.values()):
        _check_only_train(whole, split)
        return parts, []
    if not all(name in WORDS for name in names.values()):
        listed = ", ".join(f"{part.relative_to(root)} ({name or 'no split'})" for part, name in names.items())
        raise ValueError(f"{whole} has no clear split {split!r}; it holds {listed}. Name each part after its split.")
    found = chosen(split, names.values())
    if found is None:
        raise NoSplitError(
            f"{whole} has no split {split!r}; it holds {', '.join(str(part.relative_to(root)) for part in parts)}. "
            f"{REMEDY}"
        )
    return [part for part in parts if names[part] == found], [part for part in parts if names[part] != found]


def _check_only_train(path: Path, split: str) -> None:
    if split != "train":
        raise NoSplitError(f'{path} has no splits, so all of it is "train"; got {split!r}. {REMEDY}')

"""Data sets by name or path.

`digits.npz` holds the 1,797 handwritten digits of 8 × 8 pixels and 17 grey levels that scikit-learn ships, the test
part of "Optical Recognition of Handwritten Digits": E. Alpaydin, C. Kaynak, UCI 1998, doi:10.24432/C50P49, CC BY 4.0.
"""

from __future__ import annotations

import difflib
import os
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from pushforward.data.data import Data
from pushforward.data.encoded import Shape
from pushforward.data.files import read_images, read_tars
from pushforward.data.images import Images
from pushforward.data.npz import read_npz, read_packs
from pushforward.data.tables import read_hugging_face, read_parquet

PACKS = ("mnist", "fashion_mnist", "cifar10")
SPLITS = ("train", "test", "validation", "valid", "val")  # what a folder's parts may be named after


def find(name_or_path: str | Path, split: str = "train", *, image: Shape | None = None) -> Data:
    """The data set of a name, or in a file or folder.

        digits, mnist, fashion_mnist, cifar10   by name; all but digits from the folder that PUSHFORWARD_DATA names
        set.npz                                 arrays `images` and `labels`, or `x` and `y`; or a pack
        set.tar, set.parquet                    encoded images and labels
        folder                                  of images, of folders (one a class), of .tar or of .parquet files
        hf:owner/name, hf:folder                by the library `datasets`, from its hub or a folder

    A split of a folder is the folder in it of that name, or are the files whose names begin with it. What has no splits
    is "train". Given `image`, (C, H, W), images are scaled to cover it, cropped to its centre, made grey or colour.
    Raises FileNotFoundError where nothing is there, and ValueError, naming the file, where it cannot be used.
    """
    if image is not None and not (len(image) == 3 and image[0] in (1, 3) and min(image) >= 1):
        raise ValueError(f"image is (C, H, W), of 1 or 3 channels; got {image}.")
    name = str(name_or_path)
    if name == "digits":
        found = digits(split)
        if image not in (None, found.image):
            raise ValueError(f"the digits are {found.image} and of 17 levels, which are not fitted to {image}.")
        return found
    if name in PACKS:
        return read_packs(_packs(name, split), image=image)
    if name.startswith("hf:"):
        return read_hugging_face(name[3:], split, image=image)
    return _read(Path(name_or_path), split, image)


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
    held_out = torch.arange(len(images)) % 5 == 0
    rows = held_out if split == "test" else ~held_out
    return Images(images[rows, None], labels[rows], levels=17, classes=10)


def _packs(name: str, split: str) -> list[Path]:
    """The files of a named set: one, or several that are numbered."""
    if split not in ("train", "test"):
        raise ValueError(f'{name} has the splits "train" and "test"; got {split!r}.')
    folder = Path(os.environ.get("PUSHFORWARD_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
    found = sorted(file for file in folder.glob("*.npz") if file.stem.rstrip("0123456789") == f"{name}_{split}")
    if not found:
        raise FileNotFoundError(
            f"there is no {name}_{split}.npz in {folder}. Set PUSHFORWARD_DATA to the folder that holds it."
        )
    return found


def _read(path: Path, split: str, image: Shape | None) -> Data:
    if path.is_dir():
        return _read_folder(path, split, image)
    if not path.exists():
        near = difflib.get_close_matches(path.name, ("digits", *PACKS), 1)
        raise FileNotFoundError(
            f"there is no file or folder {path}, and the data sets with a name are digits, {', '.join(PACKS)}."
            + (f" Did you mean {near[0]}?" if near else "")
        )
    if path.suffix == ".npz":
        return read_npz(path, split, image=image)
    _of_split({}, split, path)
    if path.suffix not in (".tar", ".parquet"):
        raise ValueError(f"{path} ends in {path.suffix!r}; expected a folder, .npz, .tar or .parquet.")
    return (read_tars if path.suffix == ".tar" else read_parquet)([path], image=image)


def _read_folder(path: Path, split: str, image: Shape | None) -> Images:
    for ending, read in ((".tar", read_tars), (".parquet", read_parquet)):
        if shards := sorted(path.glob(f"*{ending}")):
            beginnings = {shard: re.split("[^a-z]", shard.name)[0] for shard in shards}
            return read(_of_split(beginnings, split, path) or shards, image=image)
    folders = {entry: entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    part = _of_split(folders, split, path)
    return read_images(part[0] if part else path, image=image)


def _of_split(parts: dict[Path, str], split: str, whole: Path) -> list[Path]:
    """The parts that are named after the split; none where parts have other names, which only "train" may be."""
    if parts and set(parts.values()) <= set(SPLITS):
        if split not in parts.values():
            raise ValueError(f"{whole} has the splits {', '.join(sorted(set(parts.values())))}; got {split!r}.")
        return [part for part, name in parts.items() if name == split]
    if split != "train":
        raise ValueError(f'{whole} has no splits, and so is "train"; got {split!r}. Give the path of the other set.')
    return []

"""Sets in `.npz` files: arrays by name, and packs of images in lossless WebP.

A pack stacks its images vertically in strips. Its arrays: `webp`, the bytes of all strips; `offsets`, the start of each
strip and the end of the last; `shape`, (n, H, W) or (n, H, W, 3); optionally `labels`, and `classes`, their names.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.data.data import Arrays
from pushforward.data.encoded import Shape, fitted
from pushforward.data.images import Images


def read_npz(path: Path, split: str, *, image: Shape | None = None) -> Images | Arrays:
    """Read a pack, or arrays `images` and `labels`, or `x` and `y`; those of a split are `x_test` or `test_x`.

    Integers (n, H, W), (n, C, H, W) or (n, H, W, C) are images; an `x` of real numbers (n, features) makes Arrays.
    """
    with _reading(path) as arrays:
        if "webp" in arrays and split == "train":
            return _images(*_unpacked(arrays), image=image)
        events, given = _pick(arrays, ("images", "x"), split), _pick(arrays, ("labels", "y"), split)
        if events is None:
            listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            expected = f"images_{split} or x_{split}" + (", or just images or x" if split == "train" else "")
            raise ValueError(f"it holds {listed}. For the split {split!r}, expected {expected}.")
        if events.ndim == 2 and events.dtype.kind == "f":
            return Arrays(_real(events), None if given is None else _real(given))
        return _images(events, given, _classes(arrays), image=image)


def read_packs(paths: Sequence[Path], *, image: Shape | None = None) -> Images:
    """The images of packs, concatenated and decoded into memory."""
    packs = []
    for path in paths:
        with _reading(path) as arrays:
            packs.append(_unpacked(arrays))
    pixels, labels, classes = zip(*packs, strict=True)
    given = None if any(part is None for part in labels) else np.concatenate(labels)
    return _images(np.concatenate(pixels), given, max(classes), image=image)


def _unpacked(pack: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None, int]:
    """The pixels, labels and number of classes of a pack."""
    from PIL import Image

    webp, offsets, shape = pack["webp"].tobytes(), pack["offsets"].tolist(), pack["shape"].tolist()
    strips = []
    for start, stop in zip(offsets, offsets[1:], strict=False):
        with Image.open(io.BytesIO(webp[start:stop])) as strip:
            strips.append(np.asarray(strip.convert("L" if len(shape) == 3 else "RGB")).reshape(-1, *shape[1:]))
    return np.concatenate(strips), pack.get("labels"), len(pack.get("classes", ())) or _classes(pack)


def _classes(arrays: Mapping[str, np.ndarray]) -> int:
    """The number of classes in the labels of all splits; 0 without labels."""
    labels = [arrays[name] for name in arrays if {"labels", "y"}.intersection(name.split("_"))]
    return max((int(part.max()) + 1 for part in labels if part.dtype.kind in "iu" and part.size), default=0)


def _images(pixels: np.ndarray, labels: np.ndarray | None, classes: int, *, image: Shape | None) -> Images:
    images = _integers("images", pixels)
    if images.dim() == 3:
        images = images[:, None]
    elif images.dim() == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images are (n, H, W), (n, C, H, W) or (n, H, W, C) with 1 or 3 channels; these are {pixels.shape}."
        )
    found = Images(
        images, None if labels is None else _integers("labels", labels), classes=0 if labels is None else classes
    )
    return replace(found, images=_fitted(images.byte(), image or found.image))


def _fitted(images: Tensor, image: Shape) -> Tensor:
    if images.shape[1:] == image:
        return images.contiguous()
    from PIL import Image

    pictures = (Image.fromarray(x.squeeze(-1).numpy()) for x in images.permute(0, 2, 3, 1))
    return torch.from_numpy(np.stack([fitted(picture, image) for picture in pictures]))


def _integers(name: str, values: np.ndarray) -> Tensor:
    if values.dtype.kind not in "iu":
        nan = ", some of them NaN" if values.dtype.kind == "f" and np.isnan(values).any() else ""
        raise ValueError(f"{name} are integers; these are {values.dtype}{nan}. Store them as uint8 or int64.")
    return torch.from_numpy(values if values.dtype == np.uint8 and name == "images" else values.astype(np.int64))


def _real(values: np.ndarray) -> Tensor:
    """Real numbers in torch's default dtype; integers, which may be labels, stay as they are."""
    tensor = torch.from_numpy(values)
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _pick(arrays: Mapping[str, np.ndarray], kinds: Sequence[str], split: str) -> np.ndarray | None:
    """The first array of these kinds and this split; an array whose name has no split is of "train"."""
    names = [name for kind in kinds for name in (f"{kind}_{split}", f"{split}_{kind}", kind)]
    return next((arrays[name] for name in names if name in arrays and (name not in kinds or split == "train")), None)


@contextmanager
def _reading(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a file, each read when it is indexed; errors inside the context name the file."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not a complete .npz file. Make or download it again.")
        with np.load(path) as arrays:
            yield arrays
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: {error}") from error

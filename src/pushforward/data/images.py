"""Images of integer pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.arrays import as_tensor
from pushforward.data.data import Data, Rows, digest, row_numbers
from pushforward.data.encoded import LazyImages, Shape

MOST_CLASSES = 1_000_000  # larger labels are identifiers of something


@dataclass(frozen=True, eq=False)
class Images(Data):
    """Images (n, C, H, W) of integers 0 … levels − 1, with labels (n,) 0 … classes − 1, or None.

    The images are an array, or `LazyImages`. `names` are those of the classes: of their folders, or as a file says.
    """

    images: Tensor | LazyImages
    labels: Tensor | None = None  # int64
    levels: int = 256
    classes: int = 0  # 0: without labels
    names: tuple[str, ...] = ()  # of the classes, where they have names

    def __post_init__(self):
        if not isinstance(self.images, LazyImages):
            object.__setattr__(self, "images", as_tensor(self.images, "the array of images"))
        if self.labels is not None:
            object.__setattr__(self, "labels", as_tensor(self.labels, "the array of labels"))
        shape, labels = tuple(self.images.shape), self.labels
        if len(shape) != 4 or not shape[0]:
            raise ValueError(f"images have shape (n, C, H, W), with n at least 1; these have {shape}.")
        if isinstance(self.images, Tensor):
            _check_range("pixels", self.images, self.levels)
        if labels is None and self.classes:
            raise ValueError(f"classes={self.classes} needs labels, and there are none.")
        if labels is not None:
            if labels.shape != shape[:1]:
                raise ValueError(f"give one label for each of {shape[0]} images; the labels are {tuple(labels.shape)}.")
            if not self.classes:
                raise ValueError("there are labels, and no number of classes: give classes=.")
            _check_range("labels", labels, self.classes)
        if self.names and len(self.names) != self.classes:
            raise ValueError(f"there are {self.classes} classes, and {len(self.names)} names of them: {self.names}.")

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def image(self) -> Shape:
        """The shape of one image: (C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        rows = row_numbers(rows, len(self))
        return self.images[rows], None if self.labels is None else self.labels[rows]

    def fingerprint(self) -> str:
        blobs = self.images.spread() if isinstance(self.images, LazyImages) else [self.images]
        return digest(chain(blobs, [self.labels, self.names]))

    def part(self, rows: Rows) -> Images:
        rows = row_numbers(rows, len(self))
        images = self.images.part(rows) if isinstance(self.images, LazyImages) else self.images[rows]
        return replace(self, images=images, labels=None if self.labels is None else self.labels[rows])

    def unlabelled(self) -> Images:
        """The same images without labels."""
        return replace(self, labels=None, classes=0, names=())

    def relabelled(self, names: Sequence[str]) -> Images:
        """The same images, with labels that count these classes: by name, or by number where this set has no names.

        Raises ValueError where a class is not one of them.
        """
        if self.labels is None or self.names == tuple(names):
            return self
        strange = sorted(set(self.names) - set(names)) if self.names else []
        if strange or self.classes > len(names):
            raise ValueError(
                f"the images have {self.classes} classes{f', among them {strange[0]!r}' if strange else ''}, and the "
                f"run learned {len(names)}: {', '.join(names)}."
            )
        labels = self.labels
        if self.names:
            labels = torch.tensor([names.index(name) for name in self.names], device="cpu")[labels]
        return replace(self, labels=labels, classes=len(names), names=tuple(names))


class Augmented(Data):
    """Images, followed by others that are made of them, `copies` in all of each image: a base class."""

    def __init__(self, images: Data, copies: int):
        self.images, self.copies = images, copies
        self.weights = None if images.weights is None else images.weights.repeat(copies)

    def __len__(self) -> int:
        return self.copies * len(self.images)

    def fetch(self, rows: Rows) -> tuple[Tensor, Any]:
        rows = row_numbers(rows, len(self))
        images, context = self.images.fetch(rows % len(self.images))
        return (self._made(images, rows // len(self.images)) if len(rows) else images), context

    def fingerprint(self) -> str:
        return self.images.fingerprint()

    @abstractmethod
    def _made(self, images: Tensor, copies: Tensor) -> Tensor:
        """Of each image the copy of this number, from 0 on; the first is the image itself."""


class Mirrored(Augmented):
    """Images, followed by the mirror image of each."""

    def __init__(self, images: Data):
        super().__init__(images, 2)

    def _made(self, images: Tensor, copies: Tensor) -> Tensor:
        return torch.where((copies == 1)[:, None, None, None], images.flip(3), images)


class Shifted(Augmented):
    """Images, and each of them shifted by up to `by` pixels in both directions: (2 by + 1)² times as many.

    Pixels at an edge are repeated. Which shift a row has is a function of its index alone: a training resumes exactly.
    """

    def __init__(self, images: Data, by: int):
        if by < 1:
            raise ValueError(f"images are shifted by at least one pixel; got {by}.")
        super().__init__(images, (2 * by + 1) ** 2)
        self.by = by

    def _made(self, images: Tensor, copies: Tensor) -> Tensor:
        side = 2 * self.by + 1
        down, right = ((copies + self.by * (side + 1)) % side**2 // s % side for s in (side, 1))
        i, j = (
            (torch.arange(size, device="cpu") - shift[:, None] + self.by).clamp(0, size - 1)
            for size, shift in zip(images.shape[2:], (down, right), strict=True)
        )
        batch = torch.arange(len(images), device="cpu")[:, None, None]
        return images.movedim(1, -1)[batch, i[:, :, None], j[:, None, :]].movedim(-1, 1).contiguous()


class Cropped(Augmented):
    """Images, and crops of each that are 1 … `by` pixels smaller in height and width, from all places.

    A crop is scaled back to the image's shape, between pixels linearly. Which crop a row has is a function of its index
    alone.
    """

    def __init__(self, images: Data, by: int):
        height, width = images.fetch([0])[0].shape[2:]
        if not 1 <= by < min(height, width):
            raise ValueError(f"crops of {height} × {width} are smaller by 1 … {min(height, width) - 1}; got {by}.")
        crops = [(less, top, left) for less in range(by + 1) for top in range(less + 1) for left in range(less + 1)]
        super().__init__(images, len(crops))
        self.crops = torch.tensor(crops, device="cpu")  # (crops, 3)

    def _made(self, images: Tensor, copies: Tensor) -> Tensor:
        less, top, left = self.crops[copies].T.float()
        height, width = images.shape[2:]
        # affine maps from the crop's coordinates on [−1, 1] to the image's
        maps = torch.zeros(len(images), 2, 3, device="cpu")
        for axis, size, start in ((0, width, left), (1, height, top)):
            maps[:, axis, axis] = (size - less) / size
            maps[:, axis, 2] = (2 * start - less) / size
        places = functional.affine_grid(maps, list(images.shape), align_corners=False)
        crops = functional.grid_sample(images.float(), places, padding_mode="border", align_corners=False)
        return crops.round().to(images.dtype)


def _check_range(what: str, values: Tensor, count: int) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{what} are integers 0 … {count - 1}; these are {values.dtype}.")
    least, most = torch.stack(values.aminmax()).tolist()
    if least < 0 or most >= count:
        raise ValueError(f"{what} are integers 0 … {count - 1}; these go from {least} to {most}.")


def from_zero(labels: Tensor, elsewhere: Sequence[int] = ()) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers of classes and their names, the numbers; those that start at 1, here and in the other splits, from 0 on.

    Raises ValueError where they are no numbers of classes.

    >>> from_zero(torch.tensor([1, 3]))
    (tensor([0, 2]), ('1', '2', '3'))
    """
    numbers = [*elsewhere, *(map(int, labels.aminmax()) if len(labels) else ())]
    first, last = 1 if numbers and min(numbers) == 1 else 0, max(numbers, default=-1)
    if last > MOST_CLASSES:
        raise ValueError(f"labels number the classes from 0 on, and one is {last}. Number the classes 0, 1, ….")
    return labels - first, tuple(map(str, range(first, last + 1)))


def from_names(labels: Sequence[str], elsewhere: Iterable[str] = ()) -> tuple[Tensor, tuple[str, ...]]:
    """The numbers of classes that are told by name, and their names in order, those in the other splits too.

    >>> from_names(["bee", "ant", "bee"])
    (tensor([1, 0, 1]), ('ant', 'bee'))
    >>> from_names(["10", "2"])
    (tensor([1, 0]), ('2', '10'))
    """
    names = {*labels, *elsewhere}
    numeric = all(map(str.isdecimal, names))  # then as numbers: 2 comes before 10
    order = sorted(names, key=lambda name: (int(name) if numeric else 0, name.split("/")))
    number = {name: i for i, name in enumerate(order)}
    return torch.tensor([number[name] for name in labels], dtype=torch.int64, device="cpu"), tuple(order)

"""Data sources of recipes: frozen dataclasses that read training data and held-out data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch

from pushforward.data.catalogue import find
from pushforward.data.columns import read_table
from pushforward.data.data import Arrays, Data, naming
from pushforward.data.images import Images, Mirrored, Shifted
from pushforward.data.splits import NoSplitError
from pushforward.statistics import narrowed


class Takes(NamedTuple):
    """What data a recipe's model and codec take."""

    event: tuple[int, ...]
    levels: int = 0  # of integers; 0: real numbers
    classes: int = 0  # of labels; 0: not conditioned on labels


class Source(ABC):
    """A source of data. `training` and `held_out` raise ValueError where the model cannot take the data."""

    columns: tuple[str, ...]  # the names of an event's features, where they have names
    context: tuple[str, ...]  # and of the vector that events are conditioned on

    @abstractmethod
    def training(self, takes: Takes) -> Data:
        """The training data."""

    @abstractmethod
    def held_out(self, takes: Takes) -> Data:
        """The held-out data."""

    @abstractmethod
    def at(self, place: str) -> Source:
        """The same kind of source at another name or path, without augmentation."""


@dataclass(frozen=True)
class ImageSource(Source):
    """Images by name, or in a file or folder: what `pushforward.data.find` reads, fitted to the model's shape.

    >>> len(ImageSource("digits").held_out(Takes((1, 8, 8), levels=17, classes=10)))
    360
    """

    name: str  # digits, mnist, …, or a path; "": not known
    mirrored: bool = False  # train on every image's mirror image too
    shifted: int = 0  # train on every image shifted too, by up to so many pixels in both directions
    validation: float | str | None = None  # the held-out images: a share of all, or another path; None: the test split
    columns: ClassVar[tuple[str, ...]] = ()  # pyright: ignore[reportIncompatibleVariableOverride]
    context: ClassVar[tuple[str, ...]] = ()  # pyright: ignore[reportIncompatibleVariableOverride]

    def __str__(self) -> str:
        return self.name

    def training(self, takes: Takes) -> Data:
        images = self._split("train", takes)
        if isinstance(self.validation, float | int):
            images = images.split(self.validation)[0]
        data = Shifted(images, self.shifted) if self.shifted else images
        return Mirrored(data) if self.mirrored else data

    def held_out(self, takes: Takes) -> Images:
        if isinstance(self.validation, float | int):
            held_out = self._split("train", takes).split(self.validation)[1]
            if held_out is None:
                raise ValueError(f"no image of {self.name} is held out: data.validation is 0.")
            return held_out
        if self.validation is not None:
            return self.at(self.validation).whole(takes, self.names(takes))
        return self._split("test", takes)

    def at(self, place: str) -> ImageSource:
        return ImageSource(place)

    def names(self, takes: Takes) -> tuple[str, ...]:
        """The names of the classes; () where the flow is not conditioned on them."""
        return self._split("train", takes).names

    def whole(self, takes: Takes, names: Sequence[str] = ()) -> Images:
        """The held-out images, or all where there are no splits. Labels count the classes `names`, where given."""
        try:
            found = self._found("test", takes)
        except NoSplitError:
            found = self._found("train", takes)
        names = names or found.names or tuple(map(str, range(found.classes)))
        if not takes.classes or (len(found.names) == 1 and found.names[0] not in names):
            return found.unlabelled()  # one folder, which is no class of the run, says nothing
        with naming(self.name):
            return found.relabelled([*names, *map(str, range(len(names), takes.classes))])

    def _split(self, split: str, takes: Takes) -> Images:
        """The images of a split; without labels where the flow is not conditioned on any."""
        found = self._found(split, takes)
        if not takes.classes:
            return found.unlabelled()
        self._check("model.classes", takes.classes, found.classes)
        return found

    def _found(self, split: str, takes: Takes) -> Images:
        found = find(_told(self.name), split, image=takes.event)
        if not isinstance(found, Images):
            raise ValueError(f"{self.name} holds vectors, and this recipe is for images.")
        self._check("model.image", takes.event, found.image)
        self._check("codec.levels", takes.levels, found.levels)
        return found

    def _check(self, field: str, takes: object, has: object) -> None:
        if takes != has:
            raise ValueError(f"{field} is {takes}, and the images of {self.name} have {has}. Set {field} to that.")


@dataclass(frozen=True)
class TableSource(Source):
    """Columns of a table: a .csv, .parquet or .npz file. `seed` chooses the held-out rows."""

    path: str  # "": not known
    columns: tuple[str, ...]  # of the events
    context: tuple[str, ...] = ()  # columns that events are conditioned on
    weights: str | None = None  # the column of weights; None: all equal
    validation: float = 0.1  # the share of rows held out, 5,000 at most
    seed: int = 0  # of the choice of held-out rows

    def __post_init__(self):
        if not self.columns:
            raise ValueError(f"no column of {self.path} is left to learn.")

    def __str__(self) -> str:
        return self.path

    def training(self, takes: Takes) -> Arrays:
        return self._parts(takes)[0]

    def held_out(self, takes: Takes) -> Arrays:
        held_out = self._parts(takes)[1]
        if held_out is None:
            raise ValueError(f"no row of {self.path} is held out: data.validation is 0.")
        return held_out

    def at(self, place: str) -> TableSource:
        return replace(self, path=place)

    def _parts(self, takes: Takes) -> tuple[Arrays, Arrays | None]:
        if (len(self.columns),) != takes.event:
            raise ValueError(
                f"the model takes events of shape {takes.event}, and {len(self.columns)} columns are named."
            )
        table = read_table(Path(_told(self.path)))
        events, context = (
            narrowed(torch.from_numpy(table.take(names))) if names else None for names in (self.columns, self.context)
        )
        weights = None if self.weights is None else table.take([self.weights])[:, 0]
        assert events is not None
        return Arrays(events, context, weights).counted().split(self.validation, seed=self.seed)


def _told(place: str) -> str:
    """The name or path of a source, where it has one."""
    if not place:
        raise ValueError("this run does not say what data it learned: give --data NAME or PATH.")
    return place

"""Data sources of recipes: frozen dataclasses that read training data and held-out data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch

from pushforward.data.catalogue import find
from pushforward.data.data import Arrays, Data, check_several, naming
from pushforward.data.encoded import Shape
from pushforward.data.images import Cropped, Images, Mirrored, Shifted
from pushforward.data.splits import REMEDY, NoSplitError
from pushforward.data.tables import Table, others, quoted, read_table
from pushforward.statistics import narrowed

Self = TypeVar("Self", bound="Source")
D = TypeVar("D", bound=Data, covariant=True)
LEAST = 20  # rows to learn from: the held-out ones are then two


class Takes(NamedTuple):
    """What data a recipe's model and codec take."""

    event: tuple[int, ...]
    levels: int = 0  # of integers; 0: real numbers
    classes: int = 0  # of labels; 0: not conditioned on labels
    vocabulary: int = 0  # of the tokens of texts; 0: not conditioned on tokens

    @property
    def image(self) -> Shape:
        """The shape of an image, or of a frame of a clip. Raises ValueError where it has not 1 or 3 channels."""
        channels, height, width = self.event[-3:]
        if channels not in (1, 3):
            raise ValueError(
                f"images and frames have 1 or 3 channels, and model.image has {channels}. Set it; for latents give "
                "their codec, such as Autoencoder or ClipAutoencoder."
            )
        return channels, height, width


class Source(ABC, Generic[D]):
    """A source of data. `part` raises ValueError where the model cannot take the data."""

    columns: tuple[str, ...] = ()  # the names of an event's features, where they have names
    context: tuple[str, ...] = ()  # and of the vector that events are conditioned on
    place: ClassVar[str] = ""  # the dotted name of the field that tells where the data are; "": there is none

    @abstractmethod
    def part(self, takes: Takes, *, held_out: bool) -> D:
        """The held-out data, or those to learn."""

    def training(self, takes: Takes) -> D:
        return self.part(takes, held_out=False)

    def held_out(self, takes: Takes) -> D:
        return self.part(takes, held_out=True)

    def __str__(self) -> str:
        return self.where or "data that were not named"

    @property
    def where(self) -> str:
        """Where the data are; "" where that is not known."""
        told = attrgetter(self.place)(self) if self.place else repr(self)
        return " and ".join(told) if isinstance(told, tuple) else str(told)

    def at(self: Self, place: str) -> Self:
        """The same source at another name or path. Raises ValueError where it has no place."""
        if not self.place:
            raise ValueError(f"{self} has no place: it makes its data itself. Leave out --data.")
        several = isinstance(attrgetter(self.place)(self), tuple)
        return _replaced(self, self.place, (place,) if several else place)

    def learned(self) -> Source:
        """The source with what it learns from its data before a training: the vocabulary of a tokenizer."""
        return self


def _replaced(part: Any, name: str, value: object) -> Any:
    """The same with this value in the field of this dotted name."""
    outer, _, inner = name.partition(".")
    return replace(part, **{outer: _replaced(getattr(part, outer), inner, value) if inner else value})


@dataclass(frozen=True)
class ImageSource(Source[Data]):
    """Images by name, or in a file or folder: what `pushforward.data.find` reads, fitted to the model's shape.

    >>> len(ImageSource("digits").held_out(Takes((1, 8, 8), levels=17, classes=10)))
    360
    """

    name: str  # digits, mnist, …, or a path; "": not known
    mirrored: bool = False  # train on every image's mirror image too
    shifted: int = 0  # train on every image shifted too, by up to so many pixels in both directions
    cropped: int = 0  # train on every image's crops too, by up to so many pixels smaller, scaled back
    validation: float | str | None = None  # the held-out images: a share of all, or another path; None: the test split
    place: ClassVar[str] = "name"

    def part(self, takes: Takes, *, held_out: bool) -> Data:
        if held_out:
            return self._held_out(takes)
        images = self._to_learn(self._split("train", takes))
        data = Shifted(images, self.shifted) if self.shifted else images
        data = Cropped(data, self.cropped) if self.cropped else data
        return Mirrored(data) if self.mirrored else data

    def _held_out(self, takes: Takes) -> Images:
        if isinstance(self.validation, float | int):
            held_out = self._split("train", takes).split(self.validation)[1]
            if held_out is None:
                raise ValueError(f"no image of {self.name} is held out: data.validation is 0.")
            return held_out
        if self.validation is None:
            return self._split("test", takes)
        learned, held_out = self._split("train", takes), self.at(self.validation).whole(takes, self.names(takes))
        if len(held_out) == len(learned) and held_out.fingerprint() == learned.fingerprint():
            raise ValueError(f"the held-out images, of {self.validation}, are those that are learned. {REMEDY}")
        return held_out

    def labelled(self, takes: Takes) -> Images:
        """The images to learn, with their labels, if they have some, also where the flow is not conditioned on them."""
        return self._to_learn(self._found("train", takes))

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

    def _to_learn(self, images: Images) -> Images:
        """Those of the training split that are not held out."""
        return images.split(self.validation)[0] if isinstance(self.validation, float | int) else images

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
class TableSource(Source[Arrays]):
    """Columns of a table in a file, which `data.tables.read_table` reads. `seed` chooses the held-out rows."""

    path: str  # "": not known
    columns: tuple[str, ...]  # of the events
    context: tuple[str, ...] = ()  # columns that events are conditioned on
    weights: str | None = None  # the column of weights; None: all equal
    validation: float | str = 0.1  # the held-out rows: a share of all, 5,000 at most, or another table's path
    seed: int = 0  # of the choice of held-out rows
    missing: Literal["refuse", "drop"] = "refuse"  # rows that lack a value: raise ValueError, or leave them out
    header: bool | None = None  # whether the first row of text is of names; None: find out
    place: ClassVar[str] = "path"

    def __post_init__(self):
        check_several(self.columns, "columns")
        check_several(self.context, "columns of the context")
        if not self.columns:
            raise ValueError(f"no column of {self.path} is left to learn.")
        if twice := [name for name, times in Counter(self.used).items() if times > 1]:
            raise ValueError(f"column {twice[0]!r} is named twice. Learn it, or give it as the context, or as weights.")
        if self.missing not in ("refuse", "drop"):
            raise ValueError(
                f'rows with missing values are refused, "refuse", or left out, "drop"; got {self.missing!r}.'
            )

    def part(self, takes: Takes, *, held_out: bool) -> Arrays:
        """Raises ValueError where rows to learn are too few, or a column of them is constant."""
        table = self.table()
        if not held_out:
            with naming(self.path):
                _check_learnable(table if self.weights is None else _counted(table, self.weights), self.columns)
        rows = self._whole(table, takes)
        if isinstance(self.validation, str):
            return self._elsewhere(rows, takes) if held_out else rows
        found = rows.split(self.validation, seed=self.seed)[held_out]
        if found is None:
            raise ValueError(f"no row of {self.path} is held out: data.validation is 0.")
        return found

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that it names."""
        return (*self.columns, *self.context, *(() if self.weights is None else (self.weights,)))

    def table(self) -> Table:
        """The file's rows, those with missing values left out where `missing` is "drop"."""
        table = read_table(_told(self.path), self.header)
        with naming(self.path):
            return table.complete(self.used) if self.missing == "drop" else table

    def rows(self, table: Table) -> Arrays:
        """A table's rows as events with their context, unweighted."""
        with naming(self.path):
            events, context = (_tensor(table, names) if names else None for names in (self.columns, self.context))
        assert events is not None
        return Arrays(events, context)

    def _whole(self, table: Table, takes: Takes) -> Arrays:
        """The rows of a table with their weights, without those whose weight is zero."""
        if (len(self.columns),) != takes.event:
            raise ValueError(
                f"the model takes events of shape {takes.event}, and {len(self.columns)} columns are named."
            )
        rows = self.rows(table)
        if self.weights is not None:
            with naming(self.path):
                rows = Arrays(rows.events, rows.context, _weights(table, self.weights))
        return rows.counted()

    def _elsewhere(self, learned: Arrays, takes: Takes) -> Arrays:
        """The rows of the table that `validation` names. Raises ValueError where they are those that are learned."""
        other = self.at(str(self.validation))
        found = other._whole(other.table(), takes)
        if found.fingerprint() == learned.fingerprint():
            raise ValueError(f"the held-out rows, of {self.validation}, are those that are learned. {REMEDY}")
        return found


def _tensor(table: Table, names: tuple[str, ...]) -> torch.Tensor:
    return narrowed(torch.from_numpy(table.take(names)))


def _weights(table: Table, name: str) -> np.ndarray:
    weights = table.take([name])[:, 0]
    wrong = np.flatnonzero(weights < 0)
    if len(wrong):
        raise ValueError(
            f"the weight {name!r} is {weights[wrong[0]]:g} at {table.at(wrong[0])}{others(len(wrong) - 1)}. With "
            "negative weights the likelihood may have no maximum: merge or reweight such rows first."
        )
    return weights


def _counted(table: Table, weights: str) -> Table:
    """The rows whose weight is not zero. Raises ValueError where there are none."""
    rows = np.flatnonzero(_weights(table, weights))
    if not len(rows):
        raise ValueError("all weights are zero: there is nothing to learn.")
    return table.part(rows)


def _check_learnable(table: Table, columns: tuple[str, ...]) -> None:
    """Raise ValueError where rows are too few, or a column is constant: then a density has no limit."""
    least = max(LEAST, len(columns) + 2)
    if len(table) < least:
        raise ValueError(
            f"there are {len(table)} rows of {len(columns)} columns, too few to learn from: give {least} at least, and "
            "hundreds to learn more than means and deviations."
        )
    values = table.take(columns)
    constant = [name for name, column in zip(columns, values.T, strict=True) if (column == column[0]).all()]
    if constant:
        listed = " ".join(map(quoted, constant))
        raise ValueError(
            f"column {constant[0]!r} is {values[0, columns.index(constant[0])]:g} in all {len(table):,} rows, and has "
            f"no density. Leave it out: --drop {listed}."
        )


def _told(place: str) -> str:
    """The name or path of a source, where it has one."""
    if not place:
        raise ValueError("this run does not say what data it learned: give --data NAME or PATH.")
    return place

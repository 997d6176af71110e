"""A recipe: the configuration of a run as plain data, which can be compared, printed, overridden and saved."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pushforward import codecs, data, models, moves, networks, objectives, solve, training, transforms
from pushforward.codecs import CodecConfig
from pushforward.conditions import TokenIds
from pushforward.data import Data, Images, ImageSource, Source, Takes
from pushforward.migrations import FORMAT, migrated
from pushforward.models import Model
from pushforward.named import name_of, named
from pushforward.objectives import MaximumLikelihood, Objective, ObjectiveConfig
from pushforward.randomness import seeded
from pushforward.training import Plan
from pushforward.version import __version__


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The configuration of a run. On one machine, the same recipe gives the same weights.

    >>> recipe = pf.recipes.digits()
    >>> recipe.data.name, recipe.objective
    ('digits', MaximumLikelihood(condition_dropout=0.1))
    """

    data: Source
    codec: CodecConfig
    model: Model
    objective: ObjectiveConfig = MaximumLikelihood()
    train: Plan

    def build(self) -> Objective:
        """The objective, with a fresh flow whose weights are a function of the seed.

        Torch's CPU generator is used, and restored afterwards; generators of other devices are left alone.
        """
        with seeded(self.train.seed):
            return self.objective.build(self.model.build(), self.codec.build())

    def takes(self) -> Takes:
        """What data the model and the codec take."""
        with torch.device("meta"):
            flow = self.model.build()
        text = flow.conditions.get("text")
        vocabulary = text.vocabulary if isinstance(text, TokenIds) else 0
        return Takes(self.codec.data_shape(tuple(flow.event)), self.codec.levels, flow.classes, vocabulary)

    def training_data(self) -> Data:
        """The training data. Raises ValueError where the model or the codec cannot take it."""
        return self.data.training(self.takes())

    def held_out_data(self) -> Data:
        """The held-out data. Raises ValueError where the model or the codec cannot take it."""
        return self.data.held_out(self.takes())

    def images(self, place: str | None = None, names: Sequence[str] = ()) -> Images:
        """The held-out images, or those of another name or path: its held-out ones, or all where it has no splits.

        `names` are those of the run's classes, by which the labels of other images are counted. Raises ValueError where
        there are no images.
        """
        if self.data.columns:
            raise ValueError(
                f"this run learned {self.data}, which holds no images, and this is for images. Runs on tables take "
                "sample, score, evaluate, plot and check."
            )
        if place is not None and isinstance(self.data, ImageSource):
            return self.data.at(place).whole(self.takes(), names)
        found = (self.data if place is None else self.data.at(place)).held_out(self.takes())
        if not isinstance(found, Images):
            raise ValueError(f"this run learned {self.data}, which holds no images; see its README.md.")
        return found

    def small(self) -> Recipe:
        """The same in miniature, for a test: images of a few pixels, a narrow flow, six steps."""
        model = self.model.small()
        codec = self.codec.small(getattr(model, "image", None))
        return replace(self, model=model, codec=codec, objective=self.objective.small(), train=self.train.small())


def differences(one: Any, other: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Where two recipes differ: each field's dotted name, and its value in either."""
    if is_dataclass(one) and type(one) is type(other):
        pairs = ((f"{name}.{f.name}".lstrip("."), getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
        return [found for inner, a, b in pairs for found in differences(a, b, inner)]
    return [] if one == other else [(name, one, other)]


def to_json(recipe: Recipe) -> str:
    """The recipe as JSON, with the number of the format. Every part names its class: {"kind": "TarFlow", …}.

    A class that is not one of this package is named by its module: {"kind": "package.module:Class", …}. Raises
    ValueError, by the field, for what `from_json` could not read: classes that cannot be imported, values that are not
    plain.
    """
    saved = {"format": FORMAT, "pushforward": __version__, "recipe": plain(recipe, "")}
    return json.dumps(saved, indent=2) + "\n"


def from_json(text: str, source: str | Path) -> Recipe:
    """The recipe in `text`, read from the file `source`. Raises ValueError, with that name, where it cannot be read."""
    try:
        saved = json.loads(text)
        form, recipe, version = saved["format"], saved["recipe"], saved["pushforward"]
        recipe, form = migrated(recipe, form)
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{source} is not a recipe that pushforward saved, or it is damaged.") from None
    if form != FORMAT:
        raise ValueError(
            f"{source} has format {form}, written by pushforward {version}; this is {__version__}, which "
            f"reads format {FORMAT}. Use the version that wrote it, or a later one."
        )
    try:
        found = revived(recipe)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    if not isinstance(found, Recipe):
        raise ValueError(f"{source} holds a {type(found).__name__} in place of a recipe.")
    return found


def plain(value: Any, field: str) -> Any:
    """The value of a field as JSON takes it; `field` is its dotted name."""
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: plain(getattr(value, f.name), f"{field}.{f.name}".lstrip(".")) for f in fields(value)}
        return {"kind": _kind_name(type(value), field), **given}
    if isinstance(value, tuple | list):
        return [plain(v, field) for v in value]
    if isinstance(value, bool | int | float | str | None):
        return value
    raise ValueError(
        f"{field} is of {type(value).__name__}; the fields of a recipe are numbers, words, tuples and dataclasses."
    )


def _kind_name(kind: type, field: str) -> str:
    """The bare name of a class of this package, else the name by which it is imported."""
    try:
        if _kind(kind.__name__) is kind:
            return kind.__name__
    except ValueError:
        pass
    try:
        return name_of(kind)
    except ValueError as error:
        raise ValueError(f"{field or 'the recipe'} cannot be saved: {error}") from None


def revived(value: Any) -> Any:
    """The value that `plain` made plain."""
    if isinstance(value, list):
        return tuple(revived(v) for v in value)
    if not isinstance(value, dict):
        return value
    kind = _kind(value.get("kind"))
    given = {name: revived(v) for name, v in value.items() if name != "kind"}
    known = {f.name for f in fields(kind)}
    for name in given.keys() - known:
        raise ValueError(f"a {kind.__name__} has no field {name!r}{nearest(name, known)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"a {kind.__name__} cannot be made of it: {error}") from None


def _kind(name: Any) -> type:
    if name == "Recipe":
        return Recipe
    for room in (models, codecs, data, moves, networks, objectives, solve, training, transforms):
        kind = getattr(room, str(name), None)
        if is_dataclass(kind) and isinstance(kind, type):
            return kind
    if ":" in str(name):
        kind = named(name)
        if is_dataclass(kind) and isinstance(kind, type):
            return kind
        raise ValueError(f"{name} is not a dataclass.")
    raise ValueError(f"this version of pushforward has no {name!r}.")


def nearest(name: str, known: set[str]) -> str:
    """The end of an error about an unknown name: the nearest known name, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}."

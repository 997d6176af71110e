"""A recipe is everything a run is made of, as plain data: to compare, print, override field by field and save."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from pushforward import codecs, models, moves, training, transforms
from pushforward.codecs import CodecConfig
from pushforward.data import Data, Images, Mirrored, find
from pushforward.models import Model
from pushforward.training import Likelihood, Plan
from pushforward.version import __version__

FORMAT = 1  # of a saved recipe: raised when what it holds changes
MIGRATIONS: dict[int, Callable[[dict], dict]] = {}  # format -> from its recipe to that of the next format


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run is made of. On one machine, the same recipe gives the same weights."""

    data: str  # a name (digits, mnist, …), a file or a folder; files are scaled and cropped to the model's image
    columns: tuple[str, ...] = ()  # what an event's numbers are called, where the data are a table
    given: tuple[str, ...] = ()  # and those that it is conditioned on
    mirrored: bool = False  # learn from every image's mirror image too
    model: Model
    codec: CodecConfig
    label_dropout: float = 0.0  # how often a label is left out in training: guidance needs it
    train: Plan

    def __post_init__(self):
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout is a probability, 0 … 1; got {self.label_dropout}.")

    def objective(self) -> Likelihood:
        """A fresh flow, of weights that the seed gives, and what it is trained to do."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.train.seed)
            flow = self.model.build()
            return Likelihood(flow, self.codec.build(), condition_dropout=self.label_dropout)

    def images(self, split: str, data: str | None = None) -> Images:
        """The images of a split, of the recipe's data or of other, as the model takes them; ValueError if it cannot."""
        if self.columns:
            raise ValueError(f"this run learned a table, {self.data}, and no images; see its README.md.")
        with torch.device("meta"):
            flow = self.model.build()
        name = data or self.data
        found = find(name, split, image=tuple(flow.event))  # pyright: ignore[reportArgumentType]
        if not isinstance(found, Images):
            raise ValueError(f"{name} holds vectors, and this recipe is for images.")
        for field, takes, has in (
            ("model.image", tuple(flow.event), found.image),
            ("codec.levels", self.codec.levels, found.levels),
            ("model.classes", flow.classes or found.classes, found.classes or flow.classes),
        ):
            if takes != has:
                raise ValueError(f"{field} is {takes}, and the images of {name} have {has}. Set {field} to that.")
        return found if flow.classes else dataclasses.replace(found, labels=None, classes=0)

    def training_data(self) -> Data:
        data = self.images("train")
        return Mirrored(data) if self.mirrored else data


def differences(one: Any, other: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Where two recipes differ: each field's dotted name, and what it is in the one and in the other."""
    if is_dataclass(one) and type(one) is type(other):
        pairs = ((f"{name}.{f.name}".lstrip("."), getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
        return [found for inner, a, b in pairs for found in differences(a, b, inner)]
    return [] if one == other else [(name, one, other)]


def to_json(recipe: Recipe) -> str:
    """The recipe as JSON, with the format's number. Every part says what it is: {"kind": "TarFlow", …}."""
    saved = {"format": FORMAT, "pushforward": __version__, "recipe": _plain(recipe)}
    return json.dumps(saved, indent=2) + "\n"


def from_json(text: str, source: str | Path) -> Recipe:
    """The recipe that `source` holds as `text`. Raises ValueError, with the source's name, where it cannot be read."""
    try:
        saved = json.loads(text)
        form, recipe, version = saved["format"], saved["recipe"], saved["pushforward"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{source} is not a recipe that pushforward saved, or it is damaged.") from None
    while form in MIGRATIONS:
        form, recipe = form + 1, MIGRATIONS[form](recipe)
    if form != FORMAT:
        raise ValueError(
            f"{source} has format {form}, written by pushforward {version}; this is {__version__}, which "
            f"reads format {FORMAT}. Use the version that wrote it, or a later one."
        )
    try:
        return _revived(recipe)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {"kind": type(value).__name__, **{f.name: _plain(getattr(value, f.name)) for f in fields(value)}}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _revived(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_revived(v) for v in value)
    if not isinstance(value, dict):
        return value
    kind = _kind(value.get("kind"))
    given = {name: _revived(v) for name, v in value.items() if name != "kind"}
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
    for room in (models, codecs, moves, training, transforms):
        kind = getattr(room, str(name), None)
        if is_dataclass(kind) and isinstance(kind, type):
            return kind
    raise ValueError(f"this version of pushforward has no {name!r}.")


def nearest(name: str, known: set[str]) -> str:
    """The end of a sentence that refuses a name: the one that was meant, or all there are."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}."

"""A run that is explored: loaded when it is first looked at, and kept."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.codecs import ClipCodec, CodedFlow, Identity
from pushforward.codecs.integers import IntegerCodec
from pushforward.data import Arrays, CaptionDocuments, SourceOfClips, TextSource
from pushforward.explore.clips import Clips
from pushforward.explore.documents import Documents
from pushforward.explore.edits import Edits, is_continuous
from pushforward.explore.gallery import Gallery
from pushforward.explore.images import Pictures
from pushforward.explore.plane import Plane
from pushforward.explore.texts import Texts
from pushforward.explore.training import Training
from pushforward.explore.vectors import MOST, POINTS, Vectors
from pushforward.flow import Flow
from pushforward.recipe import Recipe
from pushforward.runs.data import class_names, images_of, recipe_of
from pushforward.runs.folder import PRETRAINED, RECIPE, folder_of, load_coded, read_results
from pushforward.runs.null import check_null, check_sampling, knows_null
from pushforward.sampling import Sampling
from pushforward.training.checkpoint import WEIGHTS
from pushforward.training.log import LOG
from pushforward.transform import Transform, flattened

ROWS = 600  # of a table, drawn as points


class Opened:
    """A run, and what can be shown of it. Its `kind` is

    plane       an unconditional flow of two features
    vectors     of one or of more, or conditioned on a vector
    images      of images of integers, by class or unconditional
    clips       of clips of such images, or of their latents
    texts       of tokens
    documents   of images with captions
                "" of a flow that cannot be shown
    """

    def __init__(self, run: str | PathLike[str], name: str):
        self.run, self.name = run, name
        self.planned = _modified(run, RECIPE)
        self.recipe: Recipe = recipe_of(run)
        with torch.device("meta"):
            self.built: Flow = self.recipe.model.build()

    @property
    def kind(self) -> str:
        event, conditions = tuple(self.built.event), set(self.built.conditions)
        if event == (2,) and not conditions and self.built.exact:
            return "plane"
        if len(event) == 1 and event[0] and event[0] <= MOST and conditions <= {"vector"} and self.built.exact:
            return "vectors" if isinstance(self.recipe.codec, Identity) else ""
        source, integers = self.recipe.data, isinstance(self.recipe.codec, IntegerCodec)
        if isinstance(source, TextSource) and len(event) == 2 and not conditions:
            return "texts"
        if isinstance(source, CaptionDocuments):
            return "documents"
        if isinstance(source, SourceOfClips) and len(event) == 4 and conditions <= {"text"}:
            return "clips" if integers or isinstance(self.recipe.codec, ClipCodec) else ""
        images = len(event) == 3 and None not in event and event[0] in (1, 3) and conditions <= {"label"}
        return "images" if images and integers else ""

    def described(self) -> dict[str, Any]:
        """What the page says of it."""
        return {
            "name": self.name,
            "run": str(self.run),
            "kind": self.kind,
            "model": type(self.recipe.model).__name__,
            "configuration": str(self.recipe.model),
            "data": self.recipe.data.where.removesuffix(".npz").rpartition("/")[2],
            "parameters": sum(p.numel() for p in self.built.parameters()),
            "parts": [_made_of(part) for part in flattened(self.built.transform)],
            "classes": list(class_names(self.run, self.built.classes)),
            "size": list(self.built.event[1:]),
            "logged": (folder_of(self.run) / LOG).exists(),
            "unconditional": all(knows_null(self.recipe, name) for name in self.built.conditions),
            "continuous": is_continuous(self.built),
            "noise": self.recipe.codec.noise_sigma if isinstance(self.recipe.codec, IntegerCodec) else None,
            "frames": getattr(self.recipe.data, "frames", 0),
            "window": self.built.event[0],
            "prompted": "text" in self.built.conditions,
            "results": {name: result["text"] for name, result in read_results(self.run).items()},
        }

    @property
    def changed(self) -> bool:
        """Whether its folder holds another recipe, or other weights than those that were loaded.

        A run whose folder is gone stays as it was.
        """
        planned, loaded = _modified(self.run, RECIPE), "coded" in vars(self)
        return bool(planned) and (planned != self.planned or (loaded and _modified(self.run, WEIGHTS) != self.saved))

    @cached_property
    def training(self) -> Training:
        return Training(self.run, self.recipe)

    @cached_property
    def coded(self) -> CodedFlow:
        self.saved = _modified(self.run, WEIGHTS)
        return load_coded(self.run)

    def checked(self, sampling: Sampling) -> Opened:
        """The run itself. Raises ValueError where it never learned what these samples need."""
        check_sampling(self.run, self.recipe, sampling)
        return self

    def _check(self, *kinds: str) -> None:
        """Raise ValueError where the run is of another kind than these."""
        if self.kind not in kinds:
            raise ValueError(f"this is for {' and '.join(kinds)}, and {self.name} is of {self.kind or 'no such kind'}.")

    @cached_property
    def plane(self) -> Plane:
        self._check("plane")
        found, noise = self._rows(ROWS), torch.Generator().manual_seed(0)
        # samples take the place of data that are not here
        return Plane(self.coded.flow, found[0] if found else self.coded.flow.sample(ROWS, generator=noise))

    @cached_property
    def vectors(self) -> Vectors:
        """Raises ValueError where its data are not here, too."""
        self._check("vectors")
        if (found := self._rows(POINTS)) is None:
            raise ValueError(f"the data of {self.name} are not where they were.")
        columns = self.recipe.data.columns or tuple(f"x{i}" for i in range(*self.built.event))
        given = () if found[1] is None else self.recipe.data.context
        return Vectors(self.coded.flow, *found, columns, given)

    def _rows(self, n: int) -> tuple[Tensor, Tensor | None] | None:
        """Held-out rows of the run's table and their context, n at most; None where they are not here."""
        try:
            data = self.recipe.held_out_data()
        except (ValueError, OSError):
            return None
        return data.fetch(range(min(n, len(data))))

    @cached_property
    def gallery(self) -> Gallery:
        self._check("images", "documents")
        source, held_out, captions, text = self.recipe.data, None, [], None
        with suppress(ValueError, OSError):  # the data are not here
            if isinstance(source, CaptionDocuments):
                text = source.text
                images, captions = source.pairs.read(self.recipe.takes(), held_out=True)
                held_out = Arrays(images)
            else:
                held_out = images_of(self.run)
        return Gallery(self.coded, held_out, captions, text)

    @cached_property
    def pictures(self) -> Pictures:
        self._check("images")
        return Pictures(self.gallery)

    @cached_property
    def documents(self) -> Documents:
        self._check("documents")
        return Documents(self.gallery, self.recipe.data)  # pyright: ignore[reportArgumentType]

    @cached_property
    def clips(self) -> Clips:
        self._check("clips")
        return Clips(self.coded, self.recipe.data, self.recipe.codec)  # pyright: ignore[reportArgumentType]

    @cached_property
    def texts(self) -> Texts:
        self._check("texts")
        return Texts(self.coded, self.recipe.data.tokenizer)  # pyright: ignore[reportAttributeAccessIssue]

    @cached_property
    def edits(self) -> Edits:
        """Raises ValueError where it never learned the density without a class, too."""
        check_null(self.run, self.recipe, "editing", "label")
        return Edits(self.run, self.pictures.gallery)


def _made_of(part: Transform) -> dict[str, Any]:
    """Who moves, how, and which network says by how much, as far as a transform has these."""
    inner = next((module for module in part.modules() if hasattr(module, "net")), part)
    move, net = (getattr(inner, name, None) for name in ("move", "net"))
    return {
        "name": type(part).__name__,
        "who": type(inner).__name__,
        "how": "" if move is None else type(move).__name__,
        "network": "" if net is None else type(net).__name__,
        "parameters": sum(p.numel() for p in part.parameters()),
    }


def _modified(run: str | PathLike[str], name: str) -> int:
    """When a file of a run was last modified, in nanoseconds; 0 where there is none."""
    try:
        return (folder_of(run) / name).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def opened(runs: Iterable[str | PathLike[str]]) -> dict[str, Opened]:
    """Runs by short names, which are all that a request can name.

    They have no #, ?, % and backslash, to which an address gives a meaning of its own.
    """
    found: dict[str, Opened] = {}
    for run in runs:
        place = Path(os.path.abspath(str(run).removeprefix(PRETRAINED)))  # of . and .. the folder's own name
        base = name = re.sub(r"[#?%\\]", "-", place.name) or "run"
        count = 2
        while name in found:
            name, count = f"{base}-{count}", count + 1
        found[name] = Opened(run, name)
    return found

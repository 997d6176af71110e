"""Objectives: the loss that training minimises, and its configuration in a recipe.

An objective holds the flow, and its forward computes the loss. It is the only module that data-parallel and sharding
wrappers wrap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward import conditions
from pushforward.arrays import check_number
from pushforward.bases import Fixed
from pushforward.codecs import Codec, Identity
from pushforward.conditions import Context, Given
from pushforward.data import Data
from pushforward.data.data import listed
from pushforward.flow import Flow
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample


class Objective(nn.Module, ABC):
    """(data, context) -> loss, logs: a scalar to minimise, and detached values for the loop.

    logs[unit] is a scalar, which the progress bar shows, where `unit` is an attribute, such as "bits/dim". logs["z"],
    where present, are the latents, which the base observes. All randomness comes from `generator`, in training
    a `Keyed`. `weights` (batch,), of mean 1 over the data, multiply each row's part of the loss.
    """

    flow: Flow
    codec: Codec  # of the data
    unit: str
    changes: bool = False  # whether `begin` changes what a step computes, or it waits: no CUDA graph records such steps
    scores: bool = True  # whether it computes log-determinants
    rounds: int = 1  # of training, this one included: `following` is the objective of the next
    quantity: str = ""  # where the unit is nats: what minus the value is called, such as "log p"

    def __init__(self):
        super().__init__()
        self.codec = Identity()

    def words(self, value: float) -> str:
        """A value of training batches in words: "training log p −1.234 nats", or "training 3.100 bits/dim"."""
        return f"training {self.quantity} {-value:.3f} nats" if self.quantity else f"training {value:.3f} {self.unit}"

    @abstractmethod
    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    @abstractmethod
    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        """Data-dependent initialisation of the flow from training data."""

    def check(self, data: Data) -> None:
        """Called once before the first step, after initialisation. Raises ValueError where training cannot succeed."""

    def prepare(self, data: Data, cache: Path) -> Data:
        """The data with what a step need not compute again, by networks that are frozen: kept in files of `cache`."""
        return data

    def following(self) -> Objective | None:
        """The objective of another round of training, from the flow as it is then; None: there is none."""
        return None

    def begin(self, done: float) -> None:
        """Called before each step, with the share of steps done, 0 … 1: for what changes in the course of training."""

    def remedy(self, rows: list[int], data: Tensor, context: Given = None, generator: Source = None) -> str:
        """What to do where the loss of this batch, of these rows of the data, is not finite: a part of an error."""
        return f"The batch: {listed(rows)} of the data. Lower lr, the learning rate, or inspect these rows."


class ObjectiveConfig(ABC):
    """The configuration of an objective: a frozen dataclass in a recipe, which builds it."""

    plan: ClassVar[Mapping[str, Any]] = {}  # fields of a `training.Plan` that suit it, where nothing else is said

    @abstractmethod
    def build(self, flow: Flow, codec: Codec) -> Objective:
        """The objective for this flow, on data with this codec."""

    def small(self) -> ObjectiveConfig:
        """The same in miniature: what a test can train."""
        return self


Dropout = float | tuple[tuple[str, float], ...]  # of all conditions of a row together, or of named ones, each by itself


@dataclass(frozen=True, kw_only=True)
class MaximumLikelihood(ObjectiveConfig):
    """Maximum likelihood: builds a `Likelihood`.

    `condition_dropout` is the probability that all conditions of a row are dropped, for guidance; or pairs, such as
    (("text", 0.1), ("rate", 0.5)), by which each named condition is dropped by itself.
    """

    condition_dropout: Dropout = 0.0

    def __post_init__(self):
        check_dropout(self.condition_dropout)

    def build(self, flow: Flow, codec: Codec) -> Likelihood:
        return Likelihood(flow, codec, condition_dropout=self.condition_dropout)


def check_dropout(dropout: Dropout) -> None:
    """Raise ValueError where one of these is no probability."""
    for p in [p for _, p in dropout] if isinstance(dropout, tuple) else [dropout]:
        check_number(p, "condition_dropout, a probability,", least=0, most=1)


def check_fixed(codec: Codec) -> None:
    """Raise ValueError where a codec has weights to learn, for an objective that trains the flow alone."""
    if isinstance(codec, nn.Module) and any(p.requires_grad for p in codec.parameters()):
        raise ValueError(
            f"this objective trains the flow alone, and the {type(codec).__name__} has weights that learn with it: "
            "train by MaximumLikelihood, or with another codec."
        )


def weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """The value of each row (…, batch) times its weight; as it is where there are no weights."""
    return values if weights is None else weights * values


def with_dropout(flow: Flow, x: Events, context: Given, dropout: Dropout, generator: Source) -> Context:
    """The context of the rows of x, in which conditions of a row are null with these probabilities."""
    rows = conditions.expand(flow.context(context), x.shape[:1])
    if not rows or not dropout:
        return rows
    dropped = [((name,), p) for name, p in dropout] if isinstance(dropout, tuple) else [((), dropout)]
    for names, probability in dropped:
        rows = conditions.drop(rows, draw(torch.rand, x.shape[:1], x, generator) < probability, *names)
    return rows


@contextmanager
def frozen(*modules: object) -> Iterator[None]:
    """In this block the weights of these modules get no gradients. A codec without weights is no module."""
    weights = {p for part in modules if isinstance(part, nn.Module) for p in part.parameters() if p.requires_grad}
    for p in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in weights:
            p.requires_grad_(True)


class Likelihood(Objective):
    """Maximum likelihood of encoded data: minus the bound on log P(data | context), in nats an element of the event.

        loss = mean over the batch of w · (log_q − log p(x | context)) / elements,        w of mean 1 over the data

    so that the mean over an epoch is the weighted mean. A codec with parameters is trained too, and its decoder's error
    is added where it has one. With `condition_dropout`, as in `MaximumLikelihood`, one network learns the density with
    conditions and without. The unit is the codec's.
    """

    def __init__(self, flow: Flow, codec: Codec = Identity(), *, condition_dropout: Dropout = 0.0):
        super().__init__()
        check_dropout(condition_dropout)
        self.flow, self.codec, self.condition_dropout = flow, codec, condition_dropout
        codec.join(flow)
        self.unit, self.quantity = codec.unit, codec.quantity if codec.unit == "nats" else ""

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, log_q = self.codec.encode(data, generator)
        given = with_dropout(self.flow, x, context, self.condition_dropout, generator)
        log_p, z, beside = self.terms(x, given, generator)
        bound = weighted(log_p - log_q, weights)
        loss, cost = -bound.mean() / x[0].numel(), self.codec.in_unit(bound.detach(), data)
        for error in (beside, self.codec.decoding_error(x.detach(), data)):
            if error is not None:
                loss = loss + weighted(error, weights).mean()
        return loss, {self.unit: cost.mean(), **({} if z is None else {"z": z.detach()})}

    def terms(
        self, x: Events, context: Context, generator: Source = None
    ) -> tuple[PerSample, Events | None, PerSample | None]:
        """log p, of estimates by the generator; latents, where the base observes them; and a penalty, or the error of
        what is trained beside the flow, (batch,), where there is one: it is added."""
        if isinstance(self.flow.base, Fixed):
            return self.flow.log_prob(x, context), None, None
        return *self.flow.log_prob_and_latent(x, context), None

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        self.codec.initialize(data, generator)
        self.flow.initialize(self.codec.encode(data, generator)[0], context)

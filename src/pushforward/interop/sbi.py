"""Flows as the density estimators of sbi, for simulation-based inference of any number of rounds.

    NPE(prior, density_estimator=pf.interop.sbi.estimator(pf.models.NSF, steps=5))
    NLE(prior, density_estimator=pf.interop.sbi.estimator(pf.models.MAF, of="likelihood"))

sbi simulates pairs, parameters θ and outcomes x, hands the first of them to a function that builds an estimator, and
trains it itself. Its `ZukoFlow` asks nothing of its network but that network(context) is a torch Distribution, and so
a `Flow` goes in as it is. What there is to do here is to give both sides their units: the flow measures those of what
it is a density of (`Flow.initialize`), `Summary` those of what it is conditioned on. What `train` returns has both:

    check_calibration(trained.net, theta, trained.embedding_net(x))        (pushforward.evaluation)

Written for sbi 0.27.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from pushforward.models import NSF, VectorModel
from pushforward.transforms import ActNorm

if TYPE_CHECKING:
    from sbi.neural_nets.estimators import ConditionalDensityEstimator

MEASURED = 4096  # rows, of those that sbi trains on, that the units are measured on; sbi has shuffled them


def estimator(
    model: type[VectorModel] = NSF,
    *,
    of: Literal["posterior", "likelihood"] = "posterior",
    embedding: nn.Module | None = None,
    **options: object,
) -> Callable[[Tensor, Tensor], ConditionalDensityEstimator]:
    """What sbi takes as `density_estimator`: it builds a model of fresh weights, in the units of the pairs (θ, x).

    `of` says what it is a density of: the "posterior" q(θ | x), for NPE, or the "likelihood" q(x | θ), for NLE. sbi
    does not tell a builder which it wants, and where θ and x are of one size it cannot notice a wrong answer.
    `embedding`, learned with the flow, turns standardised conditions (batch, *shape) into vectors (batch, features);
    each estimator has a copy. `options` go to the model: with `supports` for a prior on a box, no draw leaves the box;
    an NSF of a single number is to be autoregressive=True.
    """
    if of not in ("posterior", "likelihood"):
        raise ValueError(f'an estimator is of the "posterior" (NPE) or of the "likelihood" (NLE); got {of!r}.')

    def build(theta: Tensor, x: Tensor) -> ConditionalDensityEstimator:
        from sbi.neural_nets.estimators import ZukoFlow

        pairs = (theta, x) if of == "posterior" else (x, theta)
        events, conditions = (rows[:MEASURED] for rows in pairs)
        summary = Summary(conditions, nn.Identity() if embedding is None else copy.deepcopy(embedding))
        with torch.no_grad():
            context = summary(conditions)
        flow = model(features=events.shape[1], context=context.shape[1], **options).build()  # pyright: ignore[reportArgumentType]
        flow.initialize(events, context)
        return ZukoFlow(flow, summary, events.shape[1:], conditions.shape[1:])  # pyright: ignore[reportArgumentType]

    return build


class Summary(nn.Module):
    """Conditions (batch, *shape) -> what the flow is told of them, (batch, features).

    Every number is standardised, by the mean and deviation of the conditions it was made with, and then embedded.
    """

    def __init__(self, conditions: Tensor, embedding: nn.Module):
        super().__init__()
        numbers = conditions.flatten(1)
        self.units = ActNorm(numbers.shape[1], learned=False)
        self.units.initialize_from(numbers)
        self.embedding = embedding

    def forward(self, conditions: Tensor) -> Tensor:
        standardised, _ = self.units(conditions.flatten(1))
        return self.embedding(standardised.reshape(conditions.shape)).flatten(1)

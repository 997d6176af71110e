"""Flows as the density estimators of sbi, for simulation-based inference of any number of rounds.

    NPE(prior, density_estimator=pf.interop.sbi.estimator(pf.models.NSF, transforms=5))
    NLE(prior, density_estimator=pf.interop.sbi.estimator(pf.models.MAF, of="likelihood"))
    NPE(prior, density_estimator=pf.interop.sbi.estimator(pf.models.FlowMatching))          for the first round alone

sbi simulates pairs of parameters θ and outcomes x, passes the first of them to a function that builds an estimator, and
trains the estimator itself. Its `ZukoFlow` needs a network for which network(context) is a torch Distribution, as it is
for a `Flow`. This module standardises both sides from these pairs: `Flow.initialize` the events, and `Summary` what
they are conditioned on. A model with `Matching` as its objective learns by flow matching, as in sbi's FMPE, and has
densities by its own solver. sbi's other trainers take other networks: NPE_A mixtures of Gaussians, NRE and BNRE
classifiers, FMPE and NPSE vector fields, MNPE and MNLE estimators of categories too. The estimator that `train` returns
has both:

    check_calibration(trained.net, theta, trained.embedding_net(x))        (pushforward.evaluation)

Written for sbi 0.27.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from pushforward.flow import Flow
from pushforward.models import NSF, VectorModel
from pushforward.models.model import check_class
from pushforward.objectives import Independent, Matching
from pushforward.transforms import ActNorm

if TYPE_CHECKING:
    from pushforward.interop.sbi_estimators import FlowEstimator

INITIAL = 4096  # rows for data-dependent initialisation, of those that sbi trains on; sbi has shuffled them


def estimator(
    model: Callable[..., VectorModel] = NSF,
    *,
    of: Literal["posterior", "likelihood"] = "posterior",
    embedding: nn.Module | None = None,
    **options: object,
) -> Callable[[Tensor, Tensor], FlowEstimator]:
    """A `density_estimator` for sbi: it builds a model of random weights, initialised from the pairs (θ, x).

    `of` is "posterior", q(θ | x), for NPE, or "likelihood", q(x | θ), for NLE. sbi does not pass this to a builder, and
    cannot detect a wrong choice where θ and x have the same shape. `embedding`, trained with the flow, maps
    standardised conditions (batch, *shape) to vectors (batch, features); each estimator has a copy. `options` are
    fields of the model: with `supports` for a prior on a box, samples stay in the box; an NSF of one feature needs
    autoregressive=True. Raises TypeError where the model is no class or function.
    """
    check_class(model)
    if not isinstance(embedding, nn.Module | None):
        raise TypeError(f"an embedding is a torch.nn.Module, such as nn.Linear(20, 3); got {embedding!r}.")
    if sizes := {"features", "context", "classes"} & options.keys():
        raise TypeError(
            f"sizes are those of the parameters and outcomes that sbi passes: leave out {', '.join(sizes)}."
        )
    if of not in ("posterior", "likelihood"):
        raise ValueError(f'an estimator is of the "posterior" (NPE) or of the "likelihood" (NLE); got {of!r}.')

    def build(theta: Tensor, x: Tensor, num_components: int | None = None) -> FlowEstimator:
        if num_components is not None:
            raise TypeError("sbi's NPE_A trains mixtures of Gaussians, and a flow is none: give its estimator to NPE.")
        pairs = (theta, x) if of == "posterior" else (x, theta)
        events, conditions = (rows[:INITIAL] for rows in pairs)
        summary = Summary(conditions, nn.Identity() if embedding is None else copy.deepcopy(embedding))
        with torch.no_grad():
            context = summary(conditions)
        flow = model(features=events.shape[1], context=context.shape[1], **options).build()  # pyright: ignore[reportArgumentType]
        flow.initialize(events, context)
        return _kind(flow)(flow, summary, events.shape[1:], conditions.shape[1:])  # pyright: ignore[reportArgumentType]

    return build


def _kind(flow: Flow) -> type[FlowEstimator]:
    """The class of estimators that trains this flow. Imported here, as sbi takes seconds to import.

    Raises ValueError where flow matching has a coupling or rounds of reflow.
    """
    from pushforward.interop.sbi_estimators import FlowEstimator, MatchedFlow

    if not isinstance(flow.objective, Matching):
        return FlowEstimator
    if flow.objective.reflows or flow.objective.coupling != Independent():
        raise ValueError(
            "sbi trains once, in batches: it makes no rounds of reflow and learns no coupling; got "
            f"{flow.objective}. Use models.FlowMatching, or another model with objective=Matching()."
        )
    return MatchedFlow


class Summary(nn.Module):
    """Conditions (batch, *shape) -> the vector condition of the flow, (batch, features).

    Every element is standardised by the mean and deviation of the conditions given at construction; then `embedding` is
    applied.
    """

    def __init__(self, conditions: Tensor, embedding: nn.Module):
        super().__init__()
        flat = conditions.flatten(1)
        self.units = ActNorm(flat.shape[1], learned=False)
        self.units.initialize_from(flat)
        self.embedding = embedding

    def forward(self, conditions: Tensor) -> Tensor:
        standardised, _ = self.units(conditions.flatten(1))
        return self.embedding(standardised.reshape(conditions.shape)).flatten(1)

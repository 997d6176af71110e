"""What is minimised, and what a recipe says of it.

An objective holds the flow and is the only module that data-parallel and sharding wrappers wrap, so its forward is the
one door that training goes through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward import conditions
from pushforward.codecs import Codec, Identity
from pushforward.conditions import Given
from pushforward.flow import Flow
from pushforward.importance import LogDensity, weighted_draws
from pushforward.randomness import Source, draw


class Objective(nn.Module, ABC):
    """(data, context) -> loss, logs: a scalar to minimise, and what the loop reads, detached.

    Logs hold a scalar under the name `unit`, which the progress bar shows, and may hold "z", the latents, for the base
    to observe. All randomness comes from `generator`: one a row in training. `weights` (batch,), of mean 1 over the
    data, multiply each row's part of the loss.
    """

    flow: Flow
    unit: str

    @abstractmethod
    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    @abstractmethod
    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        """Data-dependent initialisation of the flow, by data that it will be trained on."""


class ObjectiveConfig(ABC):
    """What a recipe says of its objective: a frozen dataclass of numbers and words that builds it."""

    @abstractmethod
    def build(self, flow: Flow, codec: Codec) -> Objective:
        """The objective of this flow, on data that go through this codec."""


@dataclass(frozen=True, kw_only=True)
class MaximumLikelihood(ObjectiveConfig):
    """Have the data as probable as can be: builds a `Likelihood`."""

    condition_dropout: float = 0.0  # how often a row's condition is left out in training: guidance needs it

    def __post_init__(self):
        if not 0 <= self.condition_dropout <= 1:
            raise ValueError(f"condition_dropout is a probability, 0 … 1; got {self.condition_dropout}.")

    def build(self, flow: Flow, codec: Codec) -> Likelihood:
        return Likelihood(flow, codec, condition_dropout=self.condition_dropout)


class Likelihood(Objective):
    """Minus the bound on log P(data | context), in nats an element of the event: maximum likelihood of encoded data.

        loss = mean over the batch of w · (log_q − log p(x | context)) / elements,        w of mean 1 over the data

    so that an epoch's mean is the weighted mean, whatever the weights' scale. A codec with weights is trained too.
    `condition_dropout` is the probability that a row's context is replaced by the null, so that one network learns the
    conditional density and the unconditional one. The unit is the codec's.
    """

    def __init__(self, flow: Flow, codec: Codec = Identity(), *, condition_dropout: float = 0.0):
        super().__init__()
        self.flow, self.codec, self.condition_dropout = flow, codec, condition_dropout
        self.unit = codec.unit

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, log_q = self.codec.encode(data, generator)
        context = conditions.expand(self.flow.context(context), data.shape[:1])
        if context and self.condition_dropout:
            null = draw(torch.rand, data.shape[:1], x, generator) < self.condition_dropout
            context = conditions.drop(context, null)
        log_p, z = self.flow.log_prob_and_latent(x, context)
        bound = log_p - log_q if weights is None else weights * (log_p - log_q)
        cost = self.codec.in_unit(bound.detach(), data)
        return -bound.mean() / x[0].numel(), {self.unit: cost.mean(), "z": z.detach()}

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        self.codec.initialize(data, generator)
        self.flow.initialize(self.codec.encode(data, generator)[0], context)


class ReverseKL(Objective):
    """Mean of log q(x | context) − log p̃(x) over draws x of the flow q, in nats: KL(q ‖ p) − log Z, where p = p̃ / Z.

    So −loss is a lower bound on log Z: the evidence, in variational inference. `log_density` takes events (n, *event),
    and the context where there is one, and gives log p̃ (n,), differentiably. Of the data only the number of rows
    and their context count: minimise it over `Arrays(torch.empty(256, 0))`. A mode of p that q never visits is never
    missed: look at `pushforward.evaluation.importance`, and start wide. Rezende & Mohamed 2015, arXiv:1505.05770.
    """

    unit = "nats"

    def __init__(self, flow: Flow, log_density: LogDensity):
        super().__init__()
        self.flow, self.log_density = flow, log_density

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        n = len(data) if context is None else None
        _, log_weights = weighted_draws(self.flow, self.log_density, n, context, generator=generator)
        loss = -(log_weights if weights is None else weights * log_weights).mean()
        return loss, {self.unit: loss.detach()}

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        """Nothing: there are no events to measure before the flow has learned to draw them."""

"""A flow, given its context, as a `torch.distributions.Distribution`: what lampe, Pyro and sbi take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from pushforward.context import Context

if TYPE_CHECKING:
    from pushforward.flow import Flow


class FlowDistribution(Distribution):
    """p(x | context), of any batch shape: the context's, or what `expand` made of it.

    It holds the flow and its context and calls the flow; nothing is built or cached on the way.
    """

    arg_constraints = {}  # pyright: ignore
    has_rsample = True

    def __init__(self, flow: Flow, context: Context | None, batch_shape: Size = Size()):
        self.flow, self.context = flow, context
        super().__init__(context.batch_shape if context else batch_shape, flow.event, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def transform(self) -> Callable[[Tensor], Tensor]:
        """x -> z, of shapes (*sample, *batch, *event) -> (*sample, *batch, *latent)."""
        return lambda x: self._by_rows(self.flow.encode, x)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> FlowDistribution:
        return FlowDistribution(self.flow, self.context and self.context.expand(tuple(batch_shape)), Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value | context) in nats, (*sample, *batch)."""
        return self._by_rows(self.flow.log_prob, value)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.flow.sample(self._shape(sample_shape), self.context)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.flow.rsample(self._shape(sample_shape), self.context)

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        return self.flow.rsample_and_log_prob(self._shape(sample_shape), self.context)

    def _shape(self, sample_shape: Sequence[int]) -> Size:
        """What to ask the flow for, which adds the context's batch shape itself."""
        return Size(sample_shape) if self.context else Size(sample_shape) + self.batch_shape

    def _by_rows(self, function: Callable, value: Tensor) -> Tensor:
        """function(events, context) on value's events as one batch."""
        events = len(self.event_shape)
        batch = torch.broadcast_shapes(value.shape[: value.dim() - events], self.batch_shape)
        rows = value.expand((*batch, *self.event_shape)).reshape(-1, *self.event_shape)
        answer = function(rows, self.context and self.context.rows(batch))
        return answer.reshape((*batch, *answer.shape[1:]))

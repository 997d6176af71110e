"""What is minimised.

An objective holds the flow and is the only module that data-parallel and sharding wrappers wrap, so its forward is the
one door that training goes through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pushforward.context import Given
from pushforward.flow import Flow
from pushforward.lift import Lift, bits_per_dim
from pushforward.randomness import Source, draw


class Objective(nn.Module, ABC):
    """(data, context) -> loss, logs: a scalar to minimise, and what the loop reads, detached.

    Logs are "bits/dim", the bound on the data's −log P as a scalar, and "z", the latents, for the base to observe. All
    randomness comes from `generator`: one a row in training.
    """

    flow: Flow

    @abstractmethod
    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None
    ) -> tuple[Tensor, dict[str, Tensor]]: ...


class Likelihood(Objective):
    """Minus log p(x | context), in nats a number: maximum likelihood of the lifted data.

    `drop` is the probability that a row's context is replaced by the null, so that one network learns the conditional
    density and the unconditional one.
    """

    def __init__(self, flow: Flow, lift: Lift, *, drop: float = 0.0):
        super().__init__()
        self.flow, self.lift, self.drop = flow, lift, drop

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, log_q = self.lift.lift(data, generator)
        embedded = self.flow.embed(context)
        if embedded and self.drop:
            embedded = embedded.expand(data.shape[:1]).drop(draw(torch.rand, data.shape[:1], x, generator) < self.drop)
        log_p, z = self.flow.log_prob_and_latent(x, embedded)
        numbers = x[0].numel()
        bits = bits_per_dim(log_p.detach() - log_q, numbers).mean()
        return -log_p.mean() / numbers, {"bits/dim": bits, "z": z.detach()}

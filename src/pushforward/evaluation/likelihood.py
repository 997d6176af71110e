"""Likelihoods of data that the flow was not trained on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.context import Given
from pushforward.lift import Lifted
from pushforward.randomness import Source


def bits_per_dim(log_p: Tensor, numbers: int) -> Tensor:
    """Nats an event -> bits a number: −log_p / (numbers · log 2). Of a bound on log P it is a bound too, from above."""
    return -log_p / (numbers * math.log(2))


@torch.no_grad()
def held_out(
    lifted: Lifted, data: Tensor, context: Given = None, *, batch: int = 256, generator: Source = None
) -> Tensor:
    """The bound on log P of each event of a set, in nats, (n,), in batches."""
    contexts = [None] * len(data.split(batch)) if context is None else torch.as_tensor(context).split(batch)
    parts = zip(data.split(batch), contexts, strict=True)
    return torch.cat([lifted.bound(part, given, generator=generator) for part, given in parts])

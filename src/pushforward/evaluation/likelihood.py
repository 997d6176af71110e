"""Likelihoods of data that the flow was not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.context import Given
from pushforward.lift import Lifted
from pushforward.randomness import Source


@torch.no_grad()
def held_out(
    lifted: Lifted, data: Tensor, context: Given = None, *, batch: int = 256, generator: Source = None
) -> Tensor:
    """The bound on log P of each event of a set, in nats, (n,), in batches."""
    contexts = [None] * len(data.split(batch)) if context is None else torch.as_tensor(context).split(batch)
    parts = zip(data.split(batch), contexts, strict=True)
    return torch.cat([lifted.bound(part, given, generator=generator) for part, given in parts])

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
    """The bound on log P of each event of a set, in nats, (n,), in batches; the data may be on another device."""
    flow = lifted.flow
    context = flow.embed(context)
    rows = None if context is None else context.rows(data.shape[:1])
    log_p = torch.empty(len(data), device=flow.device)
    for start in range(0, len(data), batch):
        part = slice(start, start + batch)
        given = None if rows is None else rows.each(lambda t, part=part: t[part])
        log_p[part] = lifted.bound(data[part].to(flow.device), given, generator=generator)
    return log_p

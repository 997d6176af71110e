"""The vocabulary of shapes, and the few letters we abbreviate.

Every tensor has one batch dimension, first; the rest is the event, the shape of one sample.

    B  batch      T  token      D  feature of a token      W  width of the residual stream
    H  head       P  numbers a move needs to be told       C, H, W  channel, height, width of an image

The aliases below are documentation: to torch and to the type checker they are tensors.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

Events = Tensor  # (batch, *event)
Tokens = Tensor  # (batch, token, feature)
PerSample = Tensor  # (batch,)


def at_least_float32(t: Tensor) -> Tensor:
    """`t`, widened to float32 if it is narrower: the precision of all flow arithmetic. float64 stays float64."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def without_autocast(t: Tensor) -> AbstractContextManager:
    """Where matrices are multiplied in t's own precision, whatever autocast says: flow arithmetic."""
    return torch.autocast(_device(t), enabled=False)


def multiplied_in(t: Tensor) -> torch.dtype:
    """The precision in which matrices are multiplied by t: its own, or autocast's, which leaves float64 alone."""
    if t.dtype != torch.float64 and torch.is_autocast_enabled(_device(t)):
        return torch.get_autocast_dtype(_device(t))
    return t.dtype


def _device(t: Tensor) -> str:
    return "cpu" if t.is_meta else t.device.type


def sum_event(t: Events) -> PerSample:
    """The sum over everything but the batch: (batch, *event) -> (batch,). One event that stands for all, as `expand`
    makes it, is summed once."""
    if len(t) > 1 and t.stride(0) == 0:
        return t[0].sum().expand(len(t))
    return t.flatten(1).sum(1)


def moments(t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation in float64 over everything but the second dimension: (batch, features, …) ->
    (features,) each. What does not vary has a deviation of 1."""
    deviation, mean = torch.std_mean(t.double().transpose(0, 1).flatten(1), 1, correction=0)
    rounding = 1e-13 * mean.abs()  # of equal numbers in float64
    return mean, torch.where(deviation > rounding, deviation, 1.0)

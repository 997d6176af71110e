"""Rows that are infinite, or so far out that arithmetic overflows.

A flow gives such a row an infinite latent and a density of 0. Arithmetic on it would give NaN, and in the gradients of
the whole batch too.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pushforward.conditions import Context
from pushforward.recording import readable
from pushforward.shapes import Events, PerSample, spread


def mapped(
    door: Callable[..., tuple[Tensor, Tensor]], x: Events, context: Context, weights: Iterable[Tensor] | None = None
) -> tuple[Events, PerSample]:
    """door(x, context), where a row with an infinite element has an infinite value and a log-det of −inf.

    So has a finite row that overflows to NaN, where the `weights` of the door are given and finite, and where values
    can be read, as on a CPU. A row with a NaN, in x or in its context, stays NaN.
    """
    looks, lost = readable(x), None
    if not (looks and math.isfinite(x.detach().sum())):  # else some may be infinite
        lost = torch.linalg.vector_norm(x.detach().flatten(1), math.inf, dim=1) == math.inf
    value, log_det = _without(lost, door, x, context)
    if looks and weights is not None and math.isnan(value.detach().sum() + log_det.detach().sum()):
        nan = _has_nan(value) | log_det.isnan()
        for given in (x, *(each.value.masked_fill(spread(each.null, each.value), 0) for each in context.values())):
            nan = nan & ~_has_nan(given)
        if nan.any() and all(weight.isfinite().all() for weight in weights):
            return _without(nan if lost is None else nan | lost, door, x, context)
    return value, log_det


def _without(lost: Tensor | None, door: Callable[..., tuple[Tensor, Tensor]], x: Events, context: Context) -> Any:
    """door(x, context), where the rows `lost` have an infinite value, a log-det of −inf, and no part in gradients."""
    if lost is None:
        return door(x, context)
    value, log_det = door(x.masked_fill(spread(lost, x), 0), context)
    return value.masked_fill(spread(lost, value), math.inf), log_det.masked_fill(lost, -math.inf)


def _has_nan(t: Tensor) -> Tensor:
    """Whether each row has a NaN, bool (rows,)."""
    return t.detach()[:, None].flatten(1).isnan().any(1)


def mapped_alone(
    door: Callable[..., Tensor], x: Events, context: Context, weights: Iterable[Tensor] | None = None
) -> Events:
    """door(x, context), a value without its log-det, where rows have an infinite value as in `mapped`."""
    return mapped(lambda x, context: (door(x, context), x.new_zeros(x.shape[:1])), x, context, weights)[0]

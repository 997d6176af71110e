"""Denoising by Tweedie's formula, from the score of the noisy events' density."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pushforward.conditions import Context, each
from pushforward.shapes import Events, PerSample

LogProb = Callable[[Events, Context], PerSample]


def denoise(log_prob: LogProb, x: Events, sigma: float | Tensor, context: Context, *, chunk: int = 64) -> Events:
    """The mean of the clean event, given x = clean + sigma · noise, where x is a draw from the density `log_prob`:

        E[clean | x] = x + sigma² · d log p(x) / dx        (Tweedie's formula; Robbins 1956, Efron 2011)

    `sigma` is one value for all rows or (batch,). The score is computed for `chunk` rows at a time, so its memory does
    not grow with the batch. The result is not clipped.
    """
    if chunk < 1:
        raise ValueError(f"a chunk has at least one row; got chunk={chunk}.")
    with torch.enable_grad():
        gradient = torch.cat([score(log_prob, *part) for part in _chunks(x, context, chunk)])
    sigma = torch.as_tensor(sigma, dtype=gradient.dtype, device=x.device)
    return x.detach() + sigma.reshape(-1, *[1] * (x.dim() - 1)).square() * gradient


def score(log_prob: LogProb, x: Events, context: Context) -> Events:
    """d log p(x | context) / dx, of x's shape."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(log_prob(x, context).sum(), x)[0]


def _chunks(x: Events, context: Context, size: int) -> Iterator[tuple[Events, Context]]:
    """`size` rows at a time, and their context; for an empty batch one empty part."""
    for start in range(0, max(len(x), 1), size):
        rows = slice(start, start + size)
        yield x[rows], each(context, lambda t: t[rows])  # noqa: B023 - called at once

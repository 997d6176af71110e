"""Denoisers: how Gaussian noise is taken out of the events of a flow that learned noisy ones.

A `Denoiser` is a function of noisy events and their context. It is given to `flow.denoise(x, sigma, context, by=…)`.

    Score()        one step along the score of the flow's density: the mean of the clean event, by Tweedie's formula
    Learned(net)   the same step, by a network that learned the score beside the flow: one pass, without a gradient
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import nn

from pushforward.conditions import Context, each
from pushforward.shapes import Events, PerSample

LogProb = Callable[[Events, Context], PerSample]


class Denoiser(nn.Module, ABC):
    """(log_prob, x, sigma, context) -> clean events of x's shape, not clipped, without a gradient.

    x = clean + sigma · noise, with sigma (batch,), is a draw from the density `log_prob`.
    """

    @abstractmethod
    def forward(self, log_prob: LogProb, x: Events, sigma: PerSample, context: Context) -> Events: ...


class Score(Denoiser):
    """The mean of the clean event, by Tweedie's formula (Robbins 1956, Efron 2011). Exact where the density is.

        E[clean | x] = x + sigma² · d log p(x) / dx

    The score is computed for `chunk` rows at a time, so its memory does not grow with the batch.
    """

    def __init__(self, chunk: int = 64):
        super().__init__()
        if chunk < 1:
            raise ValueError(f"a chunk has at least one row; got chunk={chunk}.")
        self.chunk = chunk

    def forward(self, log_prob: LogProb, x: Events, sigma: PerSample, context: Context) -> Events:
        gradient = torch.cat([score(log_prob, *part) for part in _chunks(x, context, self.chunk)])
        return x.detach() + as_factor(sigma, gradient).square() * gradient


class Learned(Denoiser):
    """x − sigma · net(x, context), where `net` learned the noise that the score implies, −sigma · score.

    With a `step` it is x − step · net(x, context), for a network whose unit is another. Flow-score matching: Gu et al.
    2025 (STARFlow-V), arXiv:2511.20462.
    """

    def __init__(self, net: nn.Module, *, step: float | None = None):
        super().__init__()
        self.net, self.step = net, step

    def forward(self, log_prob: LogProb, x: Events, sigma: PerSample, context: Context) -> Events:  # noqa: ARG002
        with torch.no_grad():
            noise = self.net(x, context).to(x.dtype)
            return x - (as_factor(sigma, noise) if self.step is None else self.step) * noise


def score(log_prob: LogProb, x: Events, context: Context) -> Events:
    """d log p(x | context) / dx, of x's shape."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(log_prob(x, context).sum(), x)[0]


def as_factor(sigma: PerSample, x: Events) -> Events:
    """A value for each row, in a shape that multiplies events, and of their dtype."""
    return sigma.to(x).reshape(-1, *[1] * (x.dim() - 1))


def _chunks(x: Events, context: Context, size: int) -> Iterator[tuple[Events, Context]]:
    """`size` rows at a time, and their context; for an empty batch one empty part."""
    for start in range(0, max(len(x), 1), size):
        rows = slice(start, start + size)
        yield x[rows], each(context, lambda t: t[rows])  # noqa: B023 - called at once

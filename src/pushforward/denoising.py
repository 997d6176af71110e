"""Denoisers: how Gaussian noise is taken out of the events of a flow that learned noisy ones.

A `Denoiser` is a function of noisy events and their context. It is given to `flow.denoise(x, sigma, context, by=…)`.

    Score()        one step along the score of the flow's density: the mean of the clean event, by Tweedie's formula
    Learned(net)   the same step, by a network that learned the score beside the flow: one pass, without a gradient
    Iterative()    many steps, along the scores of a flow that knows every level of noise
    Kept()         nothing: for raw events, and for those that a decoder of noisy latents reads
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Size, nn

from pushforward.arrays import as_real_tensor, check_number
from pushforward.conditions import Condition, Context, each
from pushforward.randomness import Keyed, draw, hashed
from pushforward.recording import readable
from pushforward.shapes import Events, PerSample, spread

NOISE = "noise"  # the name of the condition that tells a flow its noise level
LogProb = Callable[[Events, Context], PerSample]


class Denoiser(nn.Module, ABC):
    """(log_prob, x, sigma, context) -> clean events of x's shape, not clipped, without a gradient.

    x = clean + sigma · noise, with sigma (batch,), is a draw from the density `log_prob`. Where the flow is told the
    noise level, as the condition "noise", the level is sigma, whatever the context says.
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
        check_number(chunk, "chunk, in rows,", least=1)
        self.chunk = chunk

    def forward(self, log_prob: LogProb, x: Events, sigma: PerSample, context: Context) -> Events:
        given = at_level(context, sigma)
        gradient = torch.cat([score(log_prob, *part) for part in _chunks(x, given, self.chunk)])
        return x.detach() + as_factor(sigma, gradient).square() * gradient


class Kept(Denoiser):
    """The events as they are: their noise stays, or is left to a decoder."""

    def forward(self, log_prob: LogProb, x: Events, sigma: PerSample, context: Context) -> Events:
        return x.detach()


class Learned(Denoiser):
    """x − sigma · net(x, context), where `net` learned the noise that the score implies, −sigma · score.

    With a `step` it is x − step · net(x, context), for a network whose unit is another. Flow-score matching: Gu et al.
    2025 (STARFlow-V), arXiv:2511.20462.
    """

    def __init__(self, net: nn.Module, *, step: float | None = None):
        super().__init__()
        if step is not None:
            check_number(step, "step", above=0)
        self.net, self.step = net, step

    def forward(self, log_prob: LogProb, x: Events, sigma: PerSample, context: Context) -> Events:
        with torch.no_grad():
            noise = self.net(x, context).to(x.dtype)
            return x - (as_factor(sigma, noise) if self.step is None else self.step) * noise


class Iterative(Denoiser):
    """Steps from one noise level to the next, t_1 = sigma > t_2 > … > `low` > 0, along the scores of these levels:

        clean <- x + t² · d log p(x | t) / dx        x <- clean + t_next / t · (x − clean)

    The result is the last `clean`. The `steps` levels are equally spaced; one step is `Score()`. If `stochastic`, a
    part of the old noise v = (x − clean) / t is replaced by noise that is a function of (seed, x):

        v <- √a · v + √(1 − a) · noise,  a = (t_next / t)²        x <- clean + t_next · v

    For a flow with the condition "noise", such as `models.ITARFlow`, whose lowest level `low` is. A step costs a pass
    and its gradient. iTARFlow 2026, arXiv:2604.20041, which takes sigma / 0.01 steps.
    """

    def __init__(self, steps: int = 10, *, low: float = 0.01, stochastic: bool = False, seed: int = 0, chunk: int = 64):
        super().__init__()
        check_number(steps, "steps", least=1)
        check_number(low, "low", above=0)
        self.steps, self.low, self.stochastic, self.seed = steps, low, stochastic, seed
        self.step = Score(chunk)

    def forward(self, log_prob: LogProb, x: Events, sigma: PerSample, context: Context) -> Events:
        if NOISE not in context:
            raise ValueError(
                "this flow is not told the noise level, and has one level's score: denoise by Score(), or train a flow "
                "of all levels, such as models.ITARFlow."
            )
        x, source = x.detach(), Keyed(self.seed, rows=hashed(x))
        low, shares = sigma.clamp(max=self.low), torch.linspace(1, 0, self.steps, device="cpu").tolist()
        levels = [low + share * (sigma - low) for share in shares]
        for t, t_next in pairwise([*levels, 0 * sigma]):
            clean, ratio = self.step(log_prob, x, t, context), as_factor(t_next / t, x)
            v = (x - clean) / as_factor(t, x)
            if self.stochastic:
                v = ratio * v + (1 - ratio.square()).sqrt() * draw(torch.randn, x.shape, x, source)
            x = clean + as_factor(t_next, x) * v
        return x


def noise_levels(sigma: Any, batch: Size) -> PerSample:
    """The deviation of each row's noise, (rows,), of one for all or of (*batch). Raises ValueError where it is none."""
    given = as_real_tensor(sigma, "sigma")
    try:
        levels = given.expand(batch).flatten()
    except RuntimeError:
        raise ValueError(
            f"sigma is one value for all rows, or one for each, {tuple(batch)}; it is of shape {tuple(given.shape)}."
        ) from None
    if readable(levels) and len(levels):
        for extreme in levels.aminmax():
            check_number(extreme.item(), "sigma", above=0)
    return levels


def at_level(context: Context, sigma: PerSample) -> Context:
    """The context with sigma as its noise level, where it has one."""
    if NOISE not in context:
        return context
    return {**context, NOISE: Condition(sigma, torch.zeros_like(sigma, dtype=torch.bool))}


def score(log_prob: LogProb, x: Events, context: Context) -> Events:
    """d log p(x | context) / dx, of x's shape."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(log_prob(x, context).sum(), x)[0]


def as_factor(sigma: PerSample, x: Events) -> Events:
    """A value for each row, in a shape that multiplies events, and of their dtype."""
    return spread(sigma.to(x), x)


def _chunks(x: Events, context: Context, size: int) -> Iterator[tuple[Events, Context]]:
    """`size` rows at a time, and their context; for an empty batch one empty part."""
    for start in range(0, max(len(x), 1), size):
        rows = slice(start, start + size)
        yield x[rows], each(context, lambda t: t[rows])  # noqa: B023 - called at once

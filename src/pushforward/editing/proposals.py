"""Proposals of Markov chains.

    x' = x + drift(x) + scale · noise,        noise standard normal

so q(x' | x) is normal about x + drift(x), and by the Metropolis–Hastings rule x' is taken with the probability

    min(1, p(x') q(x | x') / (p(x) q(x' | x)))
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.shapes import Events


@dataclass(frozen=True)
class Proposal(ABC):
    """A normal proposal: its scale, and whether the scale is adapted in the first half of a chain."""

    scale: float = 0.05  # of the noise, a step, in the images' units
    adapted: bool = True
    informed: ClassVar[bool]  # whether it needs the score
    acceptance: ClassVar[float]  # the target rate: where chains in many dimensions mix fastest

    def __post_init__(self):
        check_number(self.scale, "scale", above=0)

    @abstractmethod
    def drift(self, score: Events, scale: Tensor) -> Events:
        """The drift at x, where score = d log p(x) / dx."""


@dataclass(frozen=True)
class RandomWalk(Proposal):
    """A random walk: noise without drift.

    Metropolis et al. 1953; the acceptance rate of Roberts, Gelman & Gilks 1997.
    """

    informed: ClassVar[bool] = False
    acceptance: ClassVar[float] = 0.234

    def drift(self, score: Events, scale: Tensor) -> Events:
        return torch.zeros_like(score)


@dataclass(frozen=True)
class Langevin(Proposal):
    """A gradient step before the noise: drift = scale² / 2 · score. Each step needs a gradient.

    Roberts & Tweedie 1996 (MALA); the acceptance rate of Roberts & Rosenthal 1998.
    """

    informed: ClassVar[bool] = True
    acceptance: ClassVar[float] = 0.574

    def drift(self, score: Events, scale: Tensor) -> Events:
        return 0.5 * scale.square() * score

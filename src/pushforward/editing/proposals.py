"""Where a Markov chain might go next.

    x' = x + drift(x) + scale · noise,        noise standard normal

so q(x' | x) is normal about x + drift(x), and by the Metropolis–Hastings rule x' is taken with the probability

    min(1, p(x') q(x | x') / (p(x) q(x' | x)))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.shapes import Events


@dataclass(frozen=True)
class Proposal(ABC):
    """A normal proposal: its scale, and whether that is adapted in the first half of a chain."""

    scale: float = 0.05  # of the noise, a step, in the images' units
    adapted: bool = True
    informed: ClassVar[bool]  # whether it reads the score
    acceptance: ClassVar[float]  # to adapt to: where chains in many dimensions are fastest

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"a proposal needs a scale above 0; got {self.scale}.")

    @abstractmethod
    def drift(self, score: Events, scale: Tensor) -> Events:
        """How far x + drift(x) is from x, where score = d log p(x) / dx."""


@dataclass(frozen=True)
class RandomWalk(Proposal):
    """Noise alone: symmetric, so that the densities decide.

    Metropolis et al. 1953; the rate of Roberts, Gelman & Gilks 1997.
    """

    informed: ClassVar[bool] = False
    acceptance: ClassVar[float] = 0.234

    def drift(self, score: Events, scale: Tensor) -> Events:
        return torch.zeros_like(score)


@dataclass(frozen=True)
class Langevin(Proposal):
    """A step uphill before the noise: drift = scale² / 2 · score. It costs a gradient.

    Roberts & Tweedie 1996 (MALA); the rate of Roberts & Rosenthal 1998.
    """

    informed: ClassVar[bool] = True
    acceptance: ClassVar[float] = 0.574

    def drift(self, score: Events, scale: Tensor) -> Events:
        return 0.5 * scale.square() * score

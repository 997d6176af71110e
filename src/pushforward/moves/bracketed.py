"""Moves whose inverse has no formula: it is solved for, between two ends that the move itself knows.

Each step goes to Newton's point if that lies between the ends, else to the middle; and every third step to the middle
too, unless Newton's step has become half as long. The point with the smallest residual so far is the answer. The number
of steps is fixed, since a loop that asks for values could not be compiled.

Gradients follow from the implicit function theorem: with f(x; θ) = y, dx = (dy − ∂f/∂θ dθ) / (∂f/∂x). One Newton step
from the root, whose value is zero, has just this derivative.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32

STEPS = 30  # for raw numbers N(0, 1) 10 reach the last bits of float64, for N(0, 3²) 20, for N(0, 10²) 30
FLATTEST = -30.0  # the log-slope below which a gradient back is cut: places so flat are not told apart in any precision


class Bracketed(Elementwise):
    """A move that knows two ends between which its inverse must lie.

    The inverse and its gradients are exact to rounding; second derivatives through it are not.
    """

    @abstractmethod
    def bracket(self, y: Tensor, params: Any) -> tuple[Tensor, Tensor]:
        """Ends with forward(lower) ≤ y ≤ forward(upper)."""

    @abstractmethod
    def newton(self, x: Tensor, y: Tensor, params: Any) -> tuple[Tensor, Tensor]:
        """How far forward(x) falls short of y, on any scale, and the step that would mend it were the move straight."""

    def inverse(self, y: Tensor, params: Any) -> tuple[Tensor, Tensor]:
        y = at_least_float32(y)
        with torch.no_grad():
            root = _solve(lambda x: self.newton(x, y, params), *self.bracket(y, params))
        there, log_slopes = self.forward(root, params)
        step = (y - there) * torch.exp(-log_slopes.detach().clamp(min=FLATTEST))
        x = root + (step - step.detach())
        return x, -self.forward(x, params)[1]


def _solve(newton: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor) -> Tensor:
    x, last = (lower + upper) / 2, upper - lower
    best, least = x, torch.full_like(x, math.inf)
    for i in range(STEPS):
        short, step = newton(x)
        best, least = torch.where(short.abs() < least, x, best), torch.minimum(short.abs(), least)
        lower, upper = torch.where(short > 0, x, lower), torch.where(short > 0, upper, x)
        inside = (x + step >= lower) & (x + step <= upper)
        if i % 3 == 2:
            inside = inside & (step.abs() <= last.abs() / 2)
        to = torch.where(inside, x + step, (lower + upper) / 2)
        x, last = to, to - x
    return best

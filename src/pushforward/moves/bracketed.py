"""The inverse of an increasing function that has no closed inverse, by Newton's method inside a bracket.

Each step goes to Newton's point if that lies inside the bracket, else to the middle; every third step goes to the
middle too, unless Newton's step is at most half as long as the step before. The point with the smallest residual is
returned. Where values can be read the search ends once all residuals are within 16 eps; where they cannot, as under
torch.compile, it takes all steps.

Gradients follow from the implicit function theorem: with f(x; θ) = y, dx = (dy − ∂f/∂θ dθ) / (∂f/∂x). One Newton step
from the root has length zero and this derivative; a second step has the right second derivatives too.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.recording import differentiable, readable

# for raw parameters N(0, 1) 10 steps reach the last bits of float64, for N(0, 3²) 20, for N(0, 10²) 30; in float32 22
STEPS = {torch.float32: 22, torch.float64: 30}
FLATTEST = -30.0  # log-slopes below it are clamped in gradients: no precision distinguishes two points where it is flat

Pair = Callable[[Tensor], tuple[Tensor, Tensor]]  # a function that returns two tensors


def inverted(y: Tensor, forward: Pair, newton: Pair, ends: Pair) -> tuple[Tensor, Tensor]:
    """The x with forward(x) = y, and log dx/dy.

    forward(x) returns y and log dy/dx. newton(x) returns a residual, positive where forward(x) < y, on any increasing
    scale, and Newton's step. ends(y) returns the bracket: lower and upper, with forward(lower) ≤ y ≤ forward(upper).

    The values, their gradients and second derivatives are exact to rounding.
    """
    with torch.no_grad():
        x = _solve(newton, *ends(y))
    for _ in range(2 if differentiable() else 0):
        value, log_slopes = forward(x)
        step = (y - value) * torch.exp(-log_slopes.detach().clamp(min=FLATTEST))
        x = x + (step - step.detach())
    return x, -forward(x)[1]


def check_searches(name: str) -> None:
    """Raise RuntimeError where a compiler or an exporter would unroll the searches of all features of all tokens."""
    if torch.compiler.is_compiling():
        raise RuntimeError(
            f"{name} inverts feature after feature of each token by a search of {STEPS[torch.float32]} steps, and "
            "torch.export and torch.compile unroll into thousands of operations. Record it by torch.jit.trace, which "
            "takes seconds; or export log_prob or encode, which do not search; or build the flow with move=Affine()."
        )


def _solve(newton: Pair, lower: Tensor, upper: Tensor) -> Tensor:
    x, last = (lower + upper) / 2, upper - lower
    best, least = x, torch.full_like(x, math.inf)
    for i in range(STEPS[x.dtype]):
        residual, step = newton(x)
        best, least = torch.where(residual.abs() < least, x, best), torch.minimum(residual.abs(), least)
        if readable(x) and (least <= 16 * torch.finfo(x.dtype).eps).all():
            break
        lower, upper = torch.where(residual > 0, x, lower), torch.where(residual > 0, upper, x)
        inside = (x + step >= lower) & (x + step <= upper)
        if i % 3 == 2:
            inside = inside & (step.abs() <= last.abs() / 2)
        new = torch.where(inside, x + step, (lower + upper) / 2)
        x, last = new, new - x
    return best

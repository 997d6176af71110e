"""Solvers: how a transform is computed whose forward or inverse has no formula.

Of autoregressive transforms the inverse is solved for. Such a solver is a function of (net, move, z, context) that
yields tokens and their log-slopes, (batch, n, feature) each, from the first to the last, so that samples can be
streamed. Of continuous transforms both directions are: by an `ODESolver`, with a `Divergence` for the log-determinant.
"""

from pushforward.solve.autotuned import Autotuned
from pushforward.solve.blockwise_jacobi import blockwise_jacobi, jacobi
from pushforward.solve.divergence import Divergence, ExactDivergence, Hutchinson
from pushforward.solve.ode import ODESolver, Solution
from pushforward.solve.ode_adaptive import AdaptiveSteps, Bosh3, Dopri5, Tsit5
from pushforward.solve.ode_fixed import RK4, Euler, FixedSteps, Heun, Jumps, Midpoint
from pushforward.solve.sequential import Solve, sequential

__all__ = [
    "RK4", "AdaptiveSteps", "Autotuned", "Bosh3", "Divergence", "Dopri5", "Euler", "ExactDivergence", "FixedSteps",
    "Heun", "Hutchinson", "Jumps", "Midpoint", "ODESolver", "Solution", "Solve", "Tsit5", "blockwise_jacobi", "jacobi",
    "sequential",
]  # fmt: skip

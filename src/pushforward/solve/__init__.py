"""Inverse solvers of autoregressive transforms: from latent to data.

Each is a function of (net, move, z, context) that yields tokens and their log-slopes, (batch, n, feature) each, from
the first to the last, so that samples can be streamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.solve.autotuned import Autotuned
from pushforward.solve.blockwise_jacobi import blockwise_jacobi
from pushforward.solve.jacobi import jacobi
from pushforward.solve.sequential import sequential

Solve = Callable[[CausalNetwork, Move, Tensor, Context | None], Iterator[tuple[Tensor, Tensor]]]

__all__ = ["Autotuned", "Solve", "blockwise_jacobi", "jacobi", "sequential"]

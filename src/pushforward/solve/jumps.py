"""Jumps of a learned flow map, in place of a solution of its differential equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.solve.ode import Field, Solution
from pushforward.solve.ode_fixed import FixedSteps


@dataclass(frozen=True)
class Jumps(FixedSteps):
    """`steps` equal jumps of the flow map that the network has learned (`models.FlowMap`), each one pass of it.

    As accurate as the map is, and without integrals along the trajectory, so without a log-determinant. Raises
    ValueError where these are wanted, or the network has learned no map. Boffi et al. 2025, arXiv:2505.18825.
    """

    @property
    def least_evaluations(self) -> float:
        return 0  # of the velocity

    def integrate(
        self, field: Field, y: Tensor, start: float, stop: float, *, controlled: tuple[int, ...] = ()
    ) -> Solution:
        jump: Any = getattr(field, "jump", None)
        for k in range(self.steps):
            a, b = (y.new_full(y.shape[:1], start + (stop - start) * at / self.steps) for at in (k, k + 1))
            moved = jump and jump(a, b, y)
            if moved is None:
                raise ValueError(
                    "jumps are those of a flow map that the network has learned, and give no integrals along the "
                    "trajectory: train a models.FlowMap, or use Euler."
                )
            y = moved
        count = torch.full(y.shape[:1], self.steps, dtype=torch.int64, device=y.device)
        return Solution(y, count, count, torch.zeros_like(count))

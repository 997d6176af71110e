"""How well a flow stands in for an unnormalised density p̃ = Z p: importance sampling with the flow q as proposal.

    x_i ~ q,    w_i = p̃(x_i) / q(x_i),    Z ≈ mean of w,    E_p[f] ≈ sum of w_i f(x_i) / sum of w_i

What the flow gets wrong, the weights put right. What that leaves of n draws is the effective sample size,
(sum w)² / sum w², and the standard error of log Z is √(1 / effective − 1 / n), by the delta method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.flow import Flow
from pushforward.randomness import keyed
from pushforward.shapes import Events
from pushforward.weighing import LogDensity, weighed


@dataclass(frozen=True)
class Importance:
    """Draws of a flow and their weights. Print it: a line. A mode of p that the flow misses shows nowhere here."""

    x: Events  # (n, *event)
    log_weights: Tensor  # (n,): log p̃ − log q, in nats

    @property
    def weights(self) -> Tensor:
        """(n,), of sum 1."""
        return self.log_weights.softmax(0)

    @property
    def effective(self) -> float:
        """The effective sample size, 1 … n: how many draws of p itself would tell as much of a mean."""
        return 1 / self.weights.square().sum().item()

    @property
    def log_normaliser(self) -> float:
        """The estimate of log Z."""
        return (self.log_weights.logsumexp(0) - math.log(len(self.x))).item()

    @property
    def standard_error(self) -> float:
        """Of log_normaliser; to be trusted where many draws are effective."""
        return math.sqrt(max(0.0, 1 / self.effective - 1 / len(self.x)))

    def __str__(self) -> str:
        n = len(self.x)
        return (
            f"log normaliser {self.log_normaliser:.4f} ± {self.standard_error:.4f}; "
            f"effective sample size {self.effective:,.0f} of {n:,} ({self.effective / n:.1%})"
        )


@torch.no_grad()
def importance(flow: Flow, log_density: LogDensity, n: int = 10_000, *, batch: int = 1000, seed: int = 0) -> Importance:
    """Weigh n draws of an unconditional flow against log p̃, in batches.

    Raises ValueError where log p̃ − log q is NaN or +inf, or where no draw has a weight above 0.
    """
    if n < 1:
        raise ValueError(f"weigh one draw at least; got n={n}.")
    generator = keyed(seed)
    parts = [weighed(flow, log_density, min(batch, n - i), generator=generator) for i in range(0, n, batch)]
    x, log_weights = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]).double()
    lost = (log_weights.isnan() | (log_weights == torch.inf)).sum().item()
    if lost or log_weights.max() == -torch.inf:
        raise ValueError(
            f"log p̃ − log q is NaN or infinite at {lost} of {n} draws: look at log_density there."
            if lost
            else f"log p̃ is −inf at all {n} draws: the flow draws nothing where the density is."
        )
    return Importance(x, log_weights)

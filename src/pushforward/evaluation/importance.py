"""How well a flow stands in for an unnormalised density p̃ = Z p: importance sampling with the flow q as proposal.

    x_i ~ q,    w_i = p̃(x_i) / q(x_i),    Z ≈ mean of w,    E_p[f] ≈ sum of w_i f(x_i) / sum of w_i

What the flow gets wrong, the weights put right. What that leaves of n draws is the effective sample size,
(sum w)² / sum w², and the standard error of log Z is √(1 / effective − 1 / n), by the delta method. Both presume that
the weights have a variance: the tail of the greatest tells, by the shape of the Pareto distribution that fits it. Below
0.5 they have one, above 0.7 no estimate can be trusted. Vehtari et al. 2024, arXiv:1507.02646.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.flow import Flow
from pushforward.importance import LogDensity, weighted_draws
from pushforward.randomness import keyed
from pushforward.shapes import Events


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

    @property
    def tail(self) -> float:
        """The shape of the tail of weights, the more the heavier: of the greatest min(n / 5, 3 √n), over the next."""
        n = len(self.x)
        over = self.weights.sort().values[-1 - math.ceil(min(0.2 * n, 3 * math.sqrt(n))) :]
        return pareto_shape(over[1:] - over[0])

    def __str__(self) -> str:
        n = len(self.x)
        return (
            f"log normaliser {self.log_normaliser:.4f} ± {self.standard_error:.4f}; "
            f"effective sample size {self.effective:,.0f} of {n:,} ({self.effective / n:.1%}); tail {self.tail:.2f}"
        )


@torch.no_grad()
def importance(flow: Flow, log_density: LogDensity, n: int = 10_000, *, batch: int = 1000, seed: int = 0) -> Importance:
    """Weigh n draws of an unconditional flow against log p̃, in batches.

    Raises ValueError where log p̃ − log q is NaN or +inf, where no draw has a weight above 0, or where log q is an
    estimate, whose noise would not average out of the weights.
    """
    if not flow.exact:
        raise ValueError("weights need exact log-dets, and this flow estimates them. Set log_det=Exact() for that.")
    if n < 1:
        raise ValueError(f"weigh one draw at least; got n={n}.")
    generator = keyed(seed)
    parts = [weighted_draws(flow, log_density, min(batch, n - i), generator=generator) for i in range(0, n, batch)]
    x, log_weights = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]).double()
    lost = (log_weights.isnan() | (log_weights == torch.inf)).sum().item()
    if lost or log_weights.max() == -torch.inf:
        raise ValueError(
            f"log p̃ − log q is NaN or infinite at {lost} of {n} draws: look at log_density there."
            if lost
            else f"log p̃ is −inf at all {n} draws: the flow draws nothing where the density is."
        )
    return Importance(x, log_weights)


def pareto_shape(excess: Tensor) -> float:
    """k of the density ∝ (1 + k x / s)^(−1 − 1/k) that fits these numbers, sorted, from 0 up; −inf if they are all 0.

    Given b = −k / s the likelihood is greatest at k = mean log(1 − b x); b is its mean by that likelihood over a grid
    (Zhang & Stephens 2009, Technometrics 51), and k is drawn a little to 0.5, as Vehtari et al. 2024 do.
    """
    n = len(excess)
    if not n or (quarter := excess[max(0, round(n / 4) - 1)].item()) <= 0:
        return -math.inf
    count = 30 + int(math.sqrt(n))
    places = torch.arange(1, count + 1, dtype=excess.dtype, device=excess.device) - 0.5
    b = 1 / excess[-1] + (1 - (count / places).sqrt()) / (3 * quarter)
    k = torch.log1p(-b[:, None] * excess).mean(1)
    weights = (n * (torch.log(-b / k) - k)).softmax(0)
    found = torch.log1p(-(weights @ b) * excess).mean().item()
    return (n * found + 10 * 0.5) / (n + 10)

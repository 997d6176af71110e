"""Importance sampling of an unnormalised density p̃ = Z p, with the flow q as proposal.

    x_i ~ q,    w_i = p̃(x_i) / q(x_i),    Z ≈ mean of w,    E_p[f] ≈ sum of w_i f(x_i) / sum of w_i

The weights correct the error of the flow where it draws, and nowhere else. A mode of p in which the flow never draws is
invisible: weights, effective sample size and tail are then those of the other modes, and the estimate of log Z is that
of their part of Z, a lower bound. A flow fitted by reverse KL misses modes easily; compare with a fit that starts wide
(`fit_density(…, anneal=Annealing(width))`).

The effective sample size of n draws is (sum w)² / sum w², and the standard error of log Z is √(1 / effective − 1 / n),
by the delta method. Both assume that the weights have a finite variance. A Pareto distribution fitted to the largest
weights checks that: if its shape is below 0.5 the variance is finite, and above min(1 − 1 / log₁₀ n, 0.7) no estimate
is reliable. Vehtari et al. 2024, arXiv:1507.02646.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.arrays import sizes
from pushforward.flow import Flow
from pushforward.importance import LogDensity, weighted_draws
from pushforward.randomness import keyed
from pushforward.shapes import Events


@dataclass(frozen=True)
class Importance:
    """Draws of a flow and their weights. Printed, it is one line.

    Modes of p where the flow does not draw are invisible in all of it; log_normaliser is then a lower bound.
    """

    x: Events  # (n, *event)
    log_weights: Tensor  # (n,): log p̃ − log q, in nats

    @property
    def weights(self) -> Tensor:
        """(n,), of sum 1."""
        return self.log_weights.softmax(0)

    @property
    def effective(self) -> float:
        """The effective sample size, 1 … n: about as many draws of p itself would estimate a mean as well."""
        return 1 / self.weights.square().sum().item()

    @property
    def log_normaliser(self) -> float:
        """The estimate of log Z; of a lower bound where the flow misses modes."""
        return (self.log_weights.logsumexp(0) - math.log(len(self.x))).item()

    @property
    def standard_error(self) -> float:
        """The standard error of log_normaliser; valid where the effective sample size is large. NaN for one draw."""
        if len(self.x) == 1:
            return math.nan
        return math.sqrt(max(0.0, 1 / self.effective - 1 / len(self.x)))

    @property
    def tail(self) -> float:
        """The Pareto shape of the largest min(n / 5, 3 √n) of the n weights above 0, less the next one.
        Larger: a heavier tail.

        Weights that are equal to the next one are left out. −inf where all are, and NaN where fewer than five are taken
        or left: n ≤ 20 draws have no tail.
        """
        weights = self.weights[self.weights > 0].sort().values
        n = len(weights)
        count = math.ceil(min(0.2 * n, 3 * math.sqrt(n)))
        excess = weights[-count:] - weights[max(0, n - count - 1)]
        excess = excess[excess > 0]
        if count < 5 or 0 < len(excess) < 5:
            return math.nan
        return pareto_shape(excess)

    @property
    def reliable(self) -> bool:
        """Whether the tail is light enough for the other estimates. It says nothing of modes that the flow misses."""
        n = len(self.x)
        return n > 1 and self.tail <= min(1 - 1 / math.log10(n), 0.7)

    def __str__(self) -> str:
        n, tail = len(self.x), self.tail
        told = f"tail {tail:.2f}" if self.reliable else f"unreliable: tail {tail:.2f} is too heavy"
        if not math.isfinite(tail):
            told = "unreliable: too few draws for a tail" if math.isnan(tail) else "equal weights have no tail"
        return (
            f"log normaliser {self.log_normaliser:.4f} ± {self.standard_error:.4f}, a lower bound if the flow misses "
            f"modes, which do not show; effective sample size {self.effective:,.0f} of {n:,} "
            f"({self.effective / n:.1%}); {told}"
        )


@torch.no_grad()
def importance(flow: Flow, log_density: LogDensity, n: int = 10_000, *, batch: int = 1000, seed: int = 0) -> Importance:
    """Draw n samples of an unconditional flow, in batches, with their weights for log p̃.

    They tell how close the flow is to p where it draws. Modes that it misses are invisible: then a large effective
    sample size is that of the other modes, and the log normaliser is a lower bound on log Z.

    Raises ValueError where log p̃ − log q is NaN or +inf, where no draw has a weight above 0, or where the flow
    estimates log q, since that noise would bias the weights.
    """
    if not flow.exact:
        raise ValueError("weights need exact log-dets, and this flow estimates them. Set log_det=Exact() for that.")
    n, batch = (sizes(size, name)[0] for size, name in ((n, "n"), (batch, "batch")))
    if n < 1 or batch < 1:
        raise ValueError(f"importance sampling takes one draw or more, in batches of one or more; got {n=}, {batch=}.")
    generator = keyed(seed)
    parts = [weighted_draws(flow, log_density, min(batch, n - i), generator=generator) for i in range(0, n, batch)]
    x, log_weights = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]).double()
    lost = (log_weights.isnan() | (log_weights == torch.inf)).sum().item()
    if lost or log_weights.max() == -torch.inf:
        raise ValueError(
            f"log p̃ − log q is NaN or infinite at {lost} of {n} draws. log_density returns −inf where the density is "
            "zero; if that is outside of a box, give the model supports=(Interval(low, high), …)."
            if lost
            else f"log p̃ is −inf at all {n} draws: the flow has no mass where the density has. Fit the flow first; if "
            "the density is zero outside of a box, give the model supports=(Interval(low, high), …)."
        )
    return Importance(x, log_weights)


def pareto_shape(excess: Tensor) -> float:
    """Fit the density ∝ (1 + k x / s)^(−1 − 1/k) to sorted values above 0, and return k; −inf where there is none.

    Given b = −k / s the likelihood is greatest at k = mean log(1 − b x). b is the mean of a grid, weighted by that
    likelihood (Zhang & Stephens 2009, Technometrics 51); k is shrunk towards 0.5, as in Vehtari et al. 2024.
    """
    n = len(excess)
    if not n:
        return -math.inf
    quarter, count = excess[max(0, round(n / 4) - 1)], 30 + int(math.sqrt(n))
    places = torch.arange(1, count + 1, dtype=excess.dtype, device=excess.device) - 0.5
    b = 1 / excess[-1] + (1 - (count / places).sqrt()) / (3 * quarter)
    k = torch.log1p(-b[:, None] * excess).mean(1)
    weights = (n * (torch.log(-b / k) - k)).softmax(0)
    found = torch.log1p(-(weights @ b) * excess).mean().item()
    return (n * found + 10 * 0.5) / (n + 10)

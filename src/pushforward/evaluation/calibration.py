"""Whether a conditional flow is as sure as it may be: ranks that are uniform if it is exact.

Let x* and its context c come from their joint distribution, as parameters and an observation do from a prior and a
simulator, and let x_1 … x_L be draws of q(x | c). If q is the true conditional, x* and they are L + 1 draws of it that
nothing tells apart, and by any number f(x, c) the rank of x* among them is uniform on 0 … L. Two choices of f:

    an element of x      simulation-based calibration: Talts et al. 2018, arXiv:1804.06788
    −log q(x | c)        the rank r says that x* is on the edge of the region of highest density of content r / L, so
                         that such regions cover what they claim to: Hermans et al. 2021, arXiv:2110.06581

Uniform ranks are necessary and not sufficient: a flow that does not listen to its context and gives the prior has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.conditions import Given
from pushforward.flow import Flow
from pushforward.randomness import keyed
from pushforward.shapes import Events


@dataclass(frozen=True)
class Calibration:
    """Where each event lies among the draws that its own context gave, 0 … draws. Print it.

    In print, p is that of the least uniform element, times how many elements an event has.

    >>> even = torch.arange(100)
    >>> print(Calibration(even[:, None], even, draws=99))
    regions of 50%, 90%, 95% cover 50.0%, 90.0%, 95.0% of 100 events; ranks: p = 1 (99 draws for each event)
    """

    ranks: Tensor  # (events, *event): how many draws have a smaller number there
    density_ranks: Tensor  # (events,): how many draws are denser
    draws: int

    def coverage(self, content: float) -> float:
        """The share of events inside their regions of highest density of that content, a multiple of 1 / (draws + 1).

        For an exact flow it is the content, with a standard error of sqrt(content · (1 − content) / events). Less: the
        flow is too sure of itself. More: it is not sure enough.
        """
        return (self.density_ranks < round(content * (self.draws + 1))).double().mean().item()

    def histogram(self, bins: int = 10) -> tuple[Tensor, Tensor]:
        """How many ranks fall into each bin: counted (*event, bins), and expected of an exact flow (bins,)."""
        if not 2 <= bins <= self.draws + 1:
            raise ValueError(f"ranks among {self.draws} draws fill from 2 to {self.draws + 1} bins; got bins={bins}.")

        def place(ranks: Tensor) -> Tensor:
            return (ranks * bins).div(self.draws + 1, rounding_mode="floor")

        counted = torch.nn.functional.one_hot(place(self.ranks), bins).sum(0)
        widths = place(torch.arange(self.draws + 1, device=self.ranks.device)).bincount()
        return counted.double(), len(self.ranks) * widths.double() / (self.draws + 1)

    def p_values(self, bins: int = 10) -> Tensor:
        """The probability that an exact flow's ranks are as uneven as these, for each number, (*event).

        By Pearson's chi-square test, which takes five events or more for each bin.
        """
        counted, expected = self.histogram(bins)
        statistic = ((counted - expected).square() / expected).sum(-1)
        return torch.special.gammaincc(torch.full_like(statistic, (bins - 1) / 2), statistic / 2)

    def __str__(self) -> str:
        contents = (0.5, 0.9, 0.95)
        claimed = ", ".join(f"{content:.0%}" for content in contents)
        covered = ", ".join(f"{self.coverage(content):.1%}" for content in contents)
        p_values = self.p_values(min(10, self.draws + 1))
        least = min(1.0, p_values.numel() * p_values.min().item())  # Bonferroni's bound
        return (
            f"regions of {claimed} cover {covered} of {len(self.ranks):,} events; "
            f"ranks: p = {least:.2g} ({self.draws} draws for each event)"
        )


@torch.no_grad()
def check_calibration(
    flow: Flow, x: Events, context: Given = None, *, draws: int = 99, batch: int = 16, seed: int = 0
) -> Calibration:
    """Rank events among draws of the flow given their own contexts: pairs that it did not learn from.

    Of a posterior, x are parameters drawn from the prior, and the contexts what was simulated with them. An event's
    draws are a function of (seed, its index); `batch` events and their draws are in memory at once. Raises
    FloatingPointError where a density is not a number.
    """
    if not len(x) or draws < 1:
        raise ValueError(f"ranks are of one event or more among one draw or more; got {len(x)} and draws={draws}.")
    rows = conditions.rows(flow.context(context), (len(x),))
    ranks, density_ranks = [], []
    for part in torch.arange(len(x), device="cpu").split(batch):
        events, here = x[part].to(flow.device), conditions.each(rows, lambda t, part=part: t[part])
        generators = [keyed(seed, i) for i in part.tolist()]
        shape = (draws,) if here else (draws, len(part))
        drawn, log_q = flow.sample_and_log_prob(shape, here, generator=generators * draws)
        own = flow.log_prob(events, here)
        if lost := (own.isnan() | log_q.isnan().any(0)).nonzero().flatten().tolist():
            raise FloatingPointError(f"the density of event {part[lost[0]]}, or of a draw for it, is not a number.")
        ranks.append((drawn < events).sum(0).cpu())
        density_ranks.append((log_q > own).sum(0).cpu())
    return Calibration(torch.cat(ranks), torch.cat(density_ranks), draws)

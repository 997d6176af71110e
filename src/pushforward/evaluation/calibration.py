"""Calibration of a conditional flow: ranks that are uniform if its distribution is exact.

Let x* and its context c come from their joint distribution, as parameters and an observation do from a prior and a
simulator, and let x_1 … x_L be draws of q(x | c). If q is the true conditional, x* and the draws are L + 1 independent
draws of it, and for any function f(x, c) the rank of f(x*, c) among them is uniform on 0 … L. Equal values are ordered
at random, since a density may be constant. Two choices of f:

    an element of x      simulation-based calibration: Talts et al. 2018, arXiv:1804.06788
    −log q(x | c)        at rank r, x* is on the boundary of the region of highest density with content r / L, so the
                         ranks give the coverage of such regions: Hermans et al. 2021, arXiv:2110.06581

Uniform ranks are necessary, not sufficient: a flow that ignores its context and gives the prior has them too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.arrays import as_tensor, check_number
from pushforward.conditions import Given
from pushforward.flow import Flow
from pushforward.randomness import Keyed, draw
from pushforward.shapes import Events


@dataclass(frozen=True)
class Calibration:
    """The rank of each event among the draws for its context, 0 … draws. Printed, it is one line.

    In that line p is the p-value of the least uniform element, times the number of elements of an event. Regions have
    contents of 50%, 90% and 95%, `rounded`, without those that would be 100%.

    >>> even = torch.arange(100)
    >>> print(Calibration(even[:, None], even, draws=99))
    regions of 50%, 90%, 95% cover 50.0%, 90.0%, 95.0% of 100 events; ranks: p = 1 (99 draws for each event)
    """

    ranks: Tensor  # (events, *event): how many draws are smaller in that element
    density_ranks: Tensor  # (events,): how many draws have a higher density
    draws: int

    def coverage(self, content: float) -> float:
        """The share of events inside their regions of highest density of that content, 0 … 1, `rounded`.

        For an exact flow it is the content, with a standard error of sqrt(content · (1 − content) / events). Below it,
        the flow is overconfident; above it, underconfident.
        """
        check_number(content, "content", least=0, most=1)
        return (self.density_ranks < round(content * (self.draws + 1))).double().mean().item()

    def rounded(self, content: float) -> float:
        """The nearest content that ranks among so many draws can have: a multiple of 1 / (draws + 1)."""
        return round(content * (self.draws + 1)) / (self.draws + 1)

    def histogram(self, bins: int = 10) -> tuple[Tensor, Tensor]:
        """The number of ranks in each bin: counted (*event, bins), and expected for an exact flow (bins,)."""
        if not 2 <= bins <= self.draws + 1:
            raise ValueError(f"ranks among {self.draws} draws fill from 2 to {self.draws + 1} bins; got bins={bins}.")

        def place(ranks: Tensor) -> Tensor:
            return (ranks * bins).div(self.draws + 1, rounding_mode="floor")

        counted = torch.nn.functional.one_hot(place(self.ranks), bins).sum(0)
        widths = place(torch.arange(self.draws + 1, device=self.ranks.device)).bincount()
        return counted.double(), len(self.ranks) * widths.double() / (self.draws + 1)

    def p_values(self, bins: int = 10) -> Tensor:
        """The p-value of uniform ranks, for each element, (*event).

        By Pearson's chi-square test, which needs five events or more in each bin.
        """
        counted, expected = self.histogram(bins)
        statistic = ((counted - expected).square() / expected).sum(-1)
        return torch.special.gammaincc(torch.full_like(statistic, (bins - 1) / 2), statistic / 2)

    def __str__(self) -> str:
        contents = [c for c in dict.fromkeys(map(self.rounded, (0.5, 0.9, 0.95))) if c < 1]
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
    """Rank events among draws of the flow given the events' contexts, for pairs that it was not trained on.

    For a posterior, x are parameters drawn from the prior, and the contexts are simulated with them. An event's draws
    are a function of (seed, its index); `batch` events and their draws are in memory at once. Raises FloatingPointError
    where a density is NaN.
    """
    x = as_tensor(x, "x")
    if not len(x) or draws < 1:
        raise ValueError(f"ranks are of one event or more among one draw or more; got {len(x)} and draws={draws}.")
    check_number(batch, "batch, in events,", least=1)
    rows = conditions.rows(flow.context(context), (len(x),))
    ranks, density_ranks = [], []
    for part in torch.arange(len(x), device="cpu").split(batch):
        events, here = x[part].to(flow.device), conditions.each(rows, lambda t, part=part: t[part])
        pairs = part * draws + torch.arange(draws, device="cpu")[:, None]  # (draws, event)
        shape = (draws,) if here else (draws, len(part))
        drawn, log_q = flow.sample_and_log_prob(shape, here, generator=Keyed(seed, rows=pairs.flatten()))
        own = flow.log_prob(events, here)
        if lost := (own.isnan() | log_q.isnan().any(0)).nonzero().flatten().tolist():
            raise FloatingPointError(f"the density of event {part[lost[0]]}, or of a draw for it, is NaN.")
        ties = Keyed(seed, -1, rows=part)
        ranks.append(_ranks(drawn < events, drawn == events, ties))
        density_ranks.append(_ranks(log_q > own, log_q == own, ties))
    return Calibration(torch.cat(ranks), torch.cat(density_ranks), draws)


def _ranks(before: Tensor, equal: Tensor, source: Keyed) -> Tensor:
    """How many draws come before each event, of (draws, events, …) bool; equal ones do so in a random number."""
    equal = equal.sum(0).cpu()
    u = draw(torch.rand, equal.shape, torch.empty((), dtype=torch.float64, device="cpu"), source)
    return before.sum(0).cpu() + (u * (equal + 1)).long()

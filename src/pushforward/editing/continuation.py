"""Continuations: the tokens of an event after its first ones, which are known.

If every step of a flow reads tokens in the order of the sequence, known tokens have latents of their own, and the rest
is decoded from noise: exactly. Otherwise let u be what the first such steps make of x, and p(u) the density of all
other steps. Then u is known where x is, and the rest of u is drawn by sampling importance resampling: candidates u' are
drawn from p, each takes the known tokens in place of its own first ones, and one is chosen with the weight

    p(known, rest of u') N(first of u') / p(u')

With many candidates the choice follows p(rest | known). With few it follows p(rest), as if the known tokens said
nothing beyond what the first steps read. The effective sample size, (sum of weights)² / sum of weights², tells which.
Rubin 1987, J. Am. Stat. Assoc. 82, 543.
"""

from itertools import takewhile
from typing import Any, NamedTuple

import torch

from pushforward.arrays import check_real, tensor_for
from pushforward.flow import Flow
from pushforward.moves import Categorical, MixD, Tempered
from pushforward.randomness import Source, draw, drawing
from pushforward.shapes import Events, PerSample, sum_event
from pushforward.transform import Chain, Transform, flattened, replaced
from pushforward.transforms import Autoregressive


class Continued(NamedTuple):
    """Events that begin with the known tokens, and how they were drawn."""

    events: Events  # (n, *event)
    effective: PerSample | None  # the effective sample size of each row's candidates; None: drawn exactly


@torch.no_grad()
@drawing
def continued(flow: Flow, known: Events, *, candidates: int = 32, generator: Source = None) -> Continued:
    """Draw the rest of each row's event, given its first tokens `known` (n, k, features).

    The flow is unconditional. Raises ValueError where no token is left to draw, and where candidates are drawn and the
    base is not standard normal.
    """
    known, (tokens, *token) = tensor_for(flow, known, "known"), flow.event
    check_real(known, "known")
    n, k = (*known.shape, 0, 0)[:2]
    if None in flow.event:
        raise ValueError(f"events of this flow, {flow.event}, have any size: continue them by flow.stream(…, known=…).")
    if [*known.shape[2:]] != token or not 0 < k < tokens:
        raise ValueError(
            f"an event has {tokens} tokens of shape {tuple(token)}, and some are known but not all; got known tokens "
            f"{tuple(known.shape)}."
        )
    parts = [*flattened(flow.transform)]
    first = [*takewhile(lambda part: part.causal, parts)]
    if len(first) == len(parts):
        return Continued(flow.decode(flow.base.sample(n, generator=generator), known=known), None)
    check_candidates(flow, candidates)
    blank = known.new_zeros(n, tokens - k, *token)
    u = _encoded(first, torch.cat([known, blank], 1))
    chosen, effective = _resampled(flow, Chain(*parts[len(first) :]), u[:, :k], candidates, generator)
    for part in reversed(first):
        chosen = part.decode(chosen)
    return Continued(torch.cat([known.to(chosen), chosen[:, k:]], 1), effective)


def check_candidates(flow: Flow, candidates: int) -> None:
    """Raise ValueError where a flow cannot draw so many candidates."""
    if candidates < 1:
        raise ValueError(f"one of the candidates is chosen, so there is one at least; got candidates={candidates}.")
    if flow.conditions or not flow.base.standard:
        raise ValueError(
            "candidates are drawn by unconditional flows with a standard normal base; this one has a "
            f"{type(flow.base).__name__} and the conditions {[*flow.conditions]}."
        )


def tempered(flow: Flow, temperature: float) -> Flow:
    """The flow whose `MixD` and `Categorical` have this temperature of their weights; itself where it has neither."""

    def change(step: Any) -> Autoregressive:
        if temperature == 1 or not isinstance(step.move, MixD | Categorical):
            return step
        return Autoregressive(step.net, Tempered(step.move, temperature), solve=step.solve)

    transform: Any = replaced(flow.transform, Autoregressive, change)
    return flow if transform is flow.transform else flow.with_transform(transform)


def _encoded(parts: list[Transform], x: Events) -> Events:
    for part in parts:
        x = part.encode(x)
    return x


def _resampled(flow: Flow, rest: Transform, known: Events, candidates: int, generator: Source) -> Continued:
    """One of the candidates of each row, (n, *event) with its first tokens known, and effective sample sizes (n,)."""
    n, k = known.shape[:2]
    noise = draw(torch.randn, (n, candidates, *flow.base.event), known, generator).flatten(0, 1)
    drawn = rest.decode(noise)
    placed = torch.cat([known.repeat_interleave(candidates, 0).to(drawn), drawn[:, k:]], 1)

    log_w = rest.log_prob(placed, flow.base) - rest.log_prob(drawn, flow.base) - 0.5 * sum_event(drawn[:, :k].square())
    return chosen(placed, log_w, candidates, generator)


def chosen(x: Events, log_w: PerSample, candidates: int, generator: Source) -> Continued:
    """One of the candidates of each row by their weights, of (n · candidates, *event)."""
    w = log_w.unflatten(0, (-1, candidates)).softmax(1)
    n = len(w)
    level = draw(torch.rand, (n, 1), x, generator).to(w)
    choice = (w.cumsum(1) < level).sum(1).clamp(max=candidates - 1)
    rows = torch.arange(n, device=choice.device) * candidates + choice
    return Continued(x[rows], 1 / w.square().sum(1))

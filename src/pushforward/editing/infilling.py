"""Infilling: the missing tokens of an event, drawn given the tokens before and after them.

Let q be the density of the flow's first steps, those that read tokens in the order of the sequence, with a normal
latent: for a flow of one direction that is the flow's own p. Candidates of the missing tokens are drawn from q, each
token given all tokens before it, and one is chosen with the weight

    p(x) / q(missing tokens | tokens before)        q(missing | before) = prod over missing t of q(x_t | x_0 … x_{t−1})

which for one direction is the probability of the known tokens after the gap. With many candidates the choice follows
p(missing | known). The effective sample size tells how many count. Where nothing is known after the gap, a flow of one
direction has equal weights, and the draw is exact.
"""

from collections.abc import Iterator
from itertools import takewhile

import torch
from torch import Tensor

from pushforward.arrays import as_tensor, check_real, tensor_for
from pushforward.editing.continuation import Continued, check_candidates, chosen
from pushforward.flow import Flow
from pushforward.moves.distributions import Gaussian
from pushforward.randomness import Source, draw, drawing
from pushforward.shapes import Events, PerSample, sum_event
from pushforward.transform import Chain, Triangular, flattened, trace


@torch.no_grad()
@drawing
def infilled(
    flow: Flow, events: Events, missing: Tensor, *, candidates: int = 32, generator: Source = None
) -> Continued:
    """Draw the missing tokens of each row of `events` (n, *event). `missing` (tokens,) is a bool, true for some tokens.

    The flow is unconditional, its base standard normal, and its first step reads tokens in the order of the sequence.
    Raises ValueError where it is not so, and for another mask.
    """
    check_candidates(flow, candidates)
    events, missing = tensor_for(flow, events, "the events"), as_tensor(missing, "the mask")
    if missing.dtype != torch.bool or missing.shape != flow.event[:1] or not missing.any():
        raise ValueError(
            f"missing is a bool for each of {flow.event[0]} tokens, true for one at least; got {missing.dtype} of "
            f"shape {tuple(missing.shape)}, {int(missing.count_nonzero())} of it not zero."
        )
    check_real(events, "events")
    if events.shape[1:] != flow.event:
        raise ValueError(f"this flow takes events of shape {tuple(flow.event)}; got {tuple(events.shape)}.")
    steps = [*takewhile(lambda part: part.causal and isinstance(part, Triangular), flattened(flow.transform))]
    if not steps:
        raise ValueError("infilling needs a flow whose first step reads tokens in the order of the sequence.")
    first, n, x = Chain(*steps), len(events), events.repeat_interleave(candidates, 0)
    for start, end in _gaps(missing.tolist()):
        noise = draw(torch.randn, (n, candidates, end - start, *events.shape[2:]), x, generator).flatten(0, 1)
        known = x[:, :start] if start else None
        x = torch.cat([x[:, :start], *first.stream([noise], None, known), x[:, end:]], 1)
    return chosen(x, flow.log_prob(x) - _log_q(first, x, missing), candidates, generator)


def _gaps(missing: list[bool]) -> Iterator[tuple[int, int]]:
    """Where each gap begins and ends."""
    edges = [i for i, (a, b) in enumerate(zip([False, *missing], [*missing, False], strict=True)) if a != b]
    return zip(edges[::2], edges[1::2], strict=True)


def _log_q(first: Chain, x: Events, missing: Tensor) -> PerSample:
    """The log-density of the missing tokens, each given those before it."""
    steps = [*trace(first, x)]
    log_q = sum(step.log_slopes for step in steps) + Gaussian.log_pdf(steps[-1].z)
    return sum_event(log_q[:, missing])

"""Likelihoods of data that the flow was not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.codecs import CodedFlow, bits_per_dim
from pushforward.conditions import Given
from pushforward.data import Data
from pushforward.randomness import Keyed


@dataclass(frozen=True)
class BitsPerDim:
    """The mean bits/dim of a data set: a bound from above, since it is of a bound on log P. Print it.

    The standard error is of that mean over events, their s.d. / sqrt(events); the noise of the lift's draws, and that
    of log-dets where they are estimated, is in it.
    """

    mean: float
    standard_error: float
    events: int
    samples: int  # K: draws of the lift for each event
    codec: str  # how the data was lifted
    exact: bool = True  # whether the flow's log-dets are computed, not estimated

    def __str__(self) -> str:
        bound = "a bound" if self.exact else "a bound on average, log-dets estimated"
        return (
            f"{self.mean:.3f} ± {self.standard_error:.3f} bits/dim "
            f"({bound}: {self.codec}, K = {self.samples}; mean ± s.e. over {self.events:,} events)"
        )


@torch.no_grad()
def held_out(
    coded: CodedFlow, data: Tensor | Data, context: Given = None, *, samples: int = 1, batch: int = 256, seed: int = 0
) -> Tensor:
    """The bound on log P of each event of a set, in nats, (n,), by `samples` draws of the lift for each.

    The data is fetched in batches and may be on another device. `context`, where given, stands in place of the data's
    own. An event's draws are a function of (seed, its index): to rounding, the batch size changes nothing.
    """
    if samples < 1:
        raise ValueError(f"a bound takes one draw of the lift or more for each event; got samples={samples}.")
    flow = coded.flow
    rows = None if context is None else conditions.rows(flow.context(context), (len(data),))
    log_p = [torch.empty(0, device=flow.device)]
    for start in range(0, len(data), batch):
        part = torch.arange(start, min(start + batch, len(data)))
        events, own = _fetch(data, part)
        here = own if rows is None else conditions.each(rows, lambda t, part=part: t[part])
        log_p.append(
            coded.bound(events.to(flow.device), here, samples=samples, generator=Keyed(seed, rows=part.tolist()))
        )
    return torch.cat(log_p)


def held_out_bits(
    coded: CodedFlow, data: Tensor | Data, context: Given = None, *, samples: int = 1, batch: int = 256, seed: int = 0
) -> BitsPerDim:
    """The mean of `held_out` as bits/dim, with its standard error, for two events or more.

    Raises FloatingPointError where the bound of an event is not finite.
    """
    if len(data) < 2:
        raise ValueError(f"a mean with a standard error takes two events or more; there are {len(data)}.")
    log_p = held_out(coded, data, context, samples=samples, batch=batch, seed=seed)
    lost = (~log_p.isfinite()).nonzero().flatten()
    if len(lost):
        raise FloatingPointError(
            f"the bound on log P of {len(lost)} of {len(data)} events is not finite; the first is event {lost[0]}."
        )
    bits = bits_per_dim(log_p.double(), _fetch(data, torch.arange(1))[0].numel())
    return BitsPerDim(
        mean=bits.mean().item(),
        standard_error=bits.std().item() / math.sqrt(len(bits)),
        events=len(bits),
        samples=samples,
        codec=repr(coded.codec),
        exact=coded.flow.exact,
    )


def _fetch(data: Tensor | Data, rows: Tensor) -> tuple[Tensor, Given]:
    return (data[rows], None) if isinstance(data, Tensor) else data.fetch(rows)

"""Likelihoods of held-out data."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.arrays import as_tensor, check_number
from pushforward.codecs import CodedFlow, Identity
from pushforward.conditions import Given
from pushforward.data import Data
from pushforward.randomness import Keyed


@dataclass(frozen=True)
class HeldOut:
    """The mean of −log P over a data set, in the unit of its codec. Printed, it is one line.

    It is an upper bound, from lower bounds on log P; without a codec it is minus the log-density itself. The standard
    error is that of the mean over events; it includes the noise of the codec, and of log-dets where they are estimated.
    The results of a run have it in other units too: of a table the mean of log P, of tokens that of a character.
    """

    mean: float
    standard_error: float
    unit: str  # bits/dim, or nats an event
    events: int  # whose weight is not zero
    samples: int  # K: draws of the codec for each event
    codec: str
    exact: bool = True  # whether the flow computes log-dets exactly
    bound: bool = True  # whether it is one: the codec draws
    characters: int | None = None  # of all events, where the unit is of characters

    def __str__(self) -> str:
        told = "" if self.exact else "log-dets estimated; "
        if self.bound:
            bound = "a bound" if self.exact else "a bound on average, log-dets estimated"
            told = f"{bound}: {self.codec}, K = {self.samples}; "
        counted = "" if self.characters is None else f" of {self.characters:,} characters"
        over = f"mean ± s.e. over {self.events:,} events{counted}"
        return f"{self.mean:.3f} ± {self.standard_error:.3f} {self.unit} ({told}{over})"


def held_out(
    coded: CodedFlow, data: Tensor | Data, context: Given = None, *, samples: int = 1, batch: int = 256, seed: int = 0
) -> Tensor:
    """The bound on log P of each event of a set, in nats, (n,), by `samples` draws of the codec for each.

    The data are fetched in batches and may be on another device. `context`, where given, replaces that of the data. An
    event's draws are a function of (seed, its index): to rounding, the result does not depend on the batch size.
    """
    return _by_batches(coded, _as_rows(data), context, samples, batch, seed)[0]


def held_out_mean(
    coded: CodedFlow, data: Tensor | Data, context: Given = None, *, samples: int = 1, batch: int = 256, seed: int = 0
) -> HeldOut:
    """The mean of `held_out` in the codec's unit, with its standard error, for two events or more.

    Where the data have weights it is the weighted mean, and events of weight zero do not count. Raises
    FloatingPointError where the bound of an event is not finite.
    """
    data = _as_rows(data)
    weights = _weights(data)
    events = len(data) if weights is None else int(weights.count_nonzero())
    if events < 2:
        raise ValueError(f"a standard error takes at least two events; there are {events}.")
    log_p, costs = _by_batches(coded, data, context, samples, batch, seed)
    lost = (~log_p.isfinite()).nonzero().flatten()
    if len(lost):
        raise FloatingPointError(
            f"the bound on log P of {len(lost)} of {len(data)} events is not finite; the first is event {lost[0]}."
        )
    mean, standard_error = mean_and_error(costs, weights)
    return HeldOut(
        mean=mean,
        standard_error=standard_error,
        unit=coded.codec.unit,
        events=events,
        samples=samples,
        codec=repr(coded.codec),
        exact=coded.flow.exact,
        bound=not isinstance(coded.codec, Identity),
    )


def mean_cost(coded: CodedFlow, data: Tensor | Data) -> tuple[float, float]:
    """The mean of `held_out_mean` with one draw, inf where a bound is not finite, and its standard error, NaN for one
    event."""
    data = _as_rows(data)
    costs = _by_batches(coded, data, None, samples=1, batch=1024, seed=0)[1]
    return mean_and_error(costs, _weights(data)) if costs.isfinite().all() else (math.inf, math.nan)


def _as_rows(data: Tensor | Data) -> Tensor | Data:
    return data if isinstance(data, Data) else as_tensor(data, "the data")


def _weights(data: Tensor | Data) -> Tensor | None:
    return data.weights if isinstance(data, Data) else None


@torch.no_grad()
def _by_batches(
    coded: CodedFlow, data: Tensor | Data, context: Given, samples: int, batch: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Each event's bound in nats, and in the unit of the codec; both (n,)."""
    check_number(samples, "samples, draws of the codec,", least=1)
    check_number(batch, "batch, in events,", least=1)
    flow = coded.flow
    rows = None if context is None else conditions.rows(flow.context(context), (len(data),))
    log_p, costs = [torch.empty(0, device=flow.device)], [torch.empty(0, device=flow.device)]
    for start in range(0, len(data), batch):
        part = torch.arange(start, min(start + batch, len(data)), device="cpu")
        events, own = (data[part], None) if isinstance(data, Tensor) else data.fetch(part)
        here = own if rows is None else conditions.each(rows, lambda t, part=part: t[part])
        events = events.to(flow.device)
        bound = coded.bound(events, here, samples=samples, generator=Keyed(seed, rows=part.tolist()))
        log_p.append(bound)
        costs.append(coded.codec.in_unit(bound, events))
    return torch.cat(log_p), torch.cat(costs)


def mean_and_error(values: Tensor, weights: Tensor | None = None) -> tuple[float, float]:
    """The weighted mean of values (n,), and its standard error, NaN where one alone counts: with weights w of sum 1,

        mean = Σ w · value        error² = Σ w² (value − mean)² / (1 − 2 w + Σ w²)

    error² is unbiased where all values have one variance; where all weights are equal it is the variance over n.
    """
    values = values.double().cpu()
    w = torch.ones_like(values) if weights is None else weights.to(values)
    mean, w = (w * values).sum() / w.sum(), w / w.sum()
    error = ((w * (values - mean)).square() / (1 - 2 * w + w.square().sum())).sum().sqrt()
    return mean.item(), error.item()

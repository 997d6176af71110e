"""A flow of vectors: its data beside its samples, and a row of which every feature is seen given the others."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pushforward.flow import Flow
from pushforward.shapes import Events, PerSample

POINTS, BINS = 400, 24  # points of a pair plot, and bins of a histogram
ALONG = 81  # points of a curve
MOST = 24  # features
FURTHEST = 1e15  # value of a feature: times in microseconds are less


class Vectors:
    """A flow of vectors, conditioned on a vector or on nothing, with rows of its data.

    >>> rows = pf.pretrained("moons").sample(50)
    >>> seen = Vectors(pf.pretrained("moons"), rows, None, ("a", "b"))
    >>> [curve["name"] for curve in seen.row([0.5, 0.0], [])["features"]]
    ['a', 'b']
    """

    def __init__(
        self, flow: Flow, rows: Events, context: Tensor | None, names: Sequence[str], given: Sequence[str] = ()
    ):
        self.flow, self.rows, self.context, self.names, self.given = flow, rows, context, names, given

    @cached_property
    def ranges(self) -> Tensor:
        """What is shown of each feature, (features, 2): its data, and a quarter more on both sides."""
        return _ranges(self.rows, 0.25)

    @cached_property
    def log_probs(self) -> PerSample:
        """Of the rows of data, given their own conditions."""
        with torch.no_grad():
            return self.flow.log_prob(self.rows, self.context)

    def scene(self) -> dict[str, Any]:
        """The rows of data with their conditions, the range of each feature and condition, and histograms."""
        context = self.context if self.context is not None else self.rows[:, :0]
        return {
            "names": [*self.names],
            "given": [*self.given],
            "rows": _listed(self.rows),
            "contexts": _listed(context),
            "ranges": self.ranges.tolist(),
            "given_ranges": _ranges(context, 0).tolist(),
            "histograms": self._histograms(self.rows),
        }

    def drawn(self, context: Sequence[float], seed: int = 0) -> dict[str, Any]:
        """Samples given these conditions, and their histograms."""
        generator = torch.Generator().manual_seed(seed)
        given = self._given(context, POINTS)
        x = self.flow.sample((POINTS,) if given is None else (), given, generator=generator)
        return {"rows": _listed(x), "histograms": self._histograms(x)}

    @torch.no_grad()
    def row(self, x: Sequence[float], context: Sequence[float]) -> dict[str, Any]:
        """The log-density of a row, and of each feature its density given all the others.

        `density` is on a grid over the feature's range, as a share of its highest value. `tail` is the probability of a
        value at least as far out on the same side, doubled: 2 min(F, 1 − F), F the distribution function that is the
        integral of this density over the range. Both are those of the flow, to the grid.
        """
        if len(x) != len(self.names):
            raise ValueError(f"a row has {len(self.names)} features; got {len(x)}.")
        at = torch.tensor([x], dtype=self.rows.dtype)
        log_p = self.flow.log_prob(at, self._given(context, 1)).item()
        log_ps = self._conditionals(at, context)
        return {
            "log_p": log_p,
            "above": (self.log_probs < log_p).double().mean().item(),
            "features": [
                {"name": name, **_curve(curve, value, ends)}
                for name, curve, value, ends in zip(self.names, log_ps, x, self.ranges.tolist(), strict=True)
            ],
        }

    def _conditionals(self, at: Events, context: Sequence[float]) -> Tensor:
        """log p(x) along each feature's range, the others as they are: (features, ALONG)."""
        features = len(self.names)
        share = torch.linspace(0, 1, ALONG, dtype=at.dtype)
        low, high = self.ranges[:, :1], self.ranges[:, 1:]
        grid = at.repeat(features * ALONG, 1).unflatten(0, (features, ALONG))
        grid.diagonal(dim1=0, dim2=2).copy_((low + (high - low) * share).T)
        log_p = self.flow.log_prob(grid.flatten(0, 1), self._given(context, features * ALONG))
        return log_p.unflatten(0, (features, ALONG))

    def _given(self, context: Sequence[float], n: int) -> Tensor | None:
        if len(context) != len(self.given):
            raise ValueError(f"the flow is conditioned on {len(self.given)} values; got {len(context)}.")
        return torch.tensor([context], dtype=self.rows.dtype).expand(n, -1) if self.given else None

    def _histograms(self, x: Events) -> list[list[float]]:
        """Shares of the rows in the bins of each feature's range."""
        x = x.nan_to_num().double()
        counts = (torch.histc(column, BINS, *ends) for column, ends in zip(x.T, self.ranges.tolist(), strict=True))
        return [(count / len(x)).round(decimals=4).tolist() for count in counts]


def read_values(text: str) -> list[float]:
    """Values with commas between them. Raises ValueError for another text, and for values beyond ±FURTHEST.

    >>> read_values("0.5,-1")
    [0.5, -1.0]
    """
    try:
        values = [float(part) for part in text.split(",") if part]
    except ValueError:
        raise ValueError(f"values are numbers with commas between them; got {text[:40]!r}.") from None
    if not all(abs(value) <= FURTHEST for value in values):
        raise ValueError(f"values are finite, and {FURTHEST:g} at most; got {text[:40]!r}.")
    return values


def _ranges(x: Tensor, more: float) -> Tensor:
    if not x.shape[1]:
        return x.new_zeros(0, 2)
    low, high = x.amin(0), x.amax(0)
    span = torch.where(high > low, high - low, 1)
    return torch.stack([low - more * span, high + more * span], 1)


def _listed(x: Tensor) -> list[list[float]]:
    """With as many digits as float32 has: data may be far from 0, and close together."""
    return [[float(f"{value:.9g}") for value in row] for row in x.tolist()]


def _curve(log_p: Tensor, value: float, ends: Sequence[float]) -> dict[str, Any]:
    """A density on a grid from one end to the other, and the tail at the value."""
    density = (log_p.double() - log_p.max()).exp().nan_to_num(0)
    below = torch.cat([density.new_zeros(1), torch.cumulative_trapezoid(density)])
    place = (value - ends[0]) / (ends[1] - ends[0]) * (len(density) - 1)
    k = min(max(int(place), 0), len(density) - 2)
    share = torch.lerp(below[k], below[k + 1], min(max(place - k, 0.0), 1.0)) / below[-1]
    tail = 2 * min(share.item(), 1 - share.item()) if below[-1] > 0 else 0.0
    return {"density": density.round(decimals=4).tolist(), "tail": max(0.0, tail)}

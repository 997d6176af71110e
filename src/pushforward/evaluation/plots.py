"""Plots of calibration, training and samples: matplotlib figures, to save by `figure.savefig(path)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.arrays import as_tensor
from pushforward.evaluation.calibration import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HISTOGRAM, POINTS = 10_000, 2_000  # rows of a set that are shown


def plot_ranks(calibration: Calibration, names: Sequence[str] = (), *, bins: int = 10, columns: int = 4) -> Figure:
    """A histogram of ranks for each element of an event, and the 95% band of an exact flow's counts.

    Higher in the middle: the flow is underconfident. Lower: overconfident. A slope: biased. Talts et al. 2018,
    arXiv:1804.06788.
    """
    counted, expected = calibration.histogram(bins)
    counted = counted.reshape(-1, bins)
    names = _named(names, len(counted), "element")
    rows, columns = -(-len(counted) // columns), min(columns, len(counted))
    figure = _figure(2.4 * columns, 2.2 * rows)
    low, high = _band(expected, len(calibration.ranks))
    for i, (bars, name) in enumerate(zip(counted, names, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.stairs(high.numpy(), baseline=low.numpy(), fill=True, color="0.85")
        axes.stairs(bars.numpy(), color="C0")
        axes.set(title=name, xlabel=f"rank among {calibration.draws}", xticks=[], ylim=(0, None))
    return figure


def plot_coverage(calibration: Calibration) -> Figure:
    """The coverage of regions of highest density against their content, and the 95% band of an exact flow.

    Below the diagonal the flow is overconfident. Hermans et al. 2021, arXiv:2110.06581.
    """
    contents, events = torch.linspace(0, 1, calibration.draws + 2, device="cpu"), len(calibration.ranks)
    low, high = _band(events * contents, events)
    figure = _figure(3.2, 3.2)
    axes = figure.add_subplot()
    axes.fill_between(contents, low / events, high / events, color="0.85")
    axes.plot(contents, [calibration.coverage(content) for content in contents.tolist()], color="C0")
    axes.set(xlabel="content of the region", ylabel="events inside", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure


def plot_history(
    history: Sequence[tuple[int, float, float | None]], *, name: str = "log p, nats", held_out: str | None = None
) -> Figure:
    """The scores of a training against its steps, of batches and of held-out events: `Fit.history`.

    Those of held-out events have an axis of their own where their name, `held_out`, is another.

    Batches are thin dots, since each is of a few rows. A rising line at the end: give more steps. A held-out line that
    falls while the other rises: overfitting, and the flow has the weights of the held-out maximum.
    """
    if not history:
        raise ValueError("there is no history: give that of a fit, `fit.history`.")
    figure = _figure(4.8, 3.2)
    axes = figure.add_subplot()
    axes.plot([step for step, *_ in history], [training for _, training, _ in history], ".", color="0.7", markersize=2)
    axes.set(xlabel="step", ylabel=name)
    if held_out not in (None, name):
        axes = axes.twinx()
        axes.set(ylabel=f"held-out {held_out}")
    looks = [(step, score) for step, _, score in history if score is not None]
    axes.plot([step for step, _ in looks], [score for _, score in looks], color="C0", label="held-out")
    return figure


def plot_corner(samples: Tensor, data: Tensor | None = None, names: Sequence[str] = ()) -> Figure:
    """Histograms of each feature, and points for each pair of features: samples (n, d), and data (m, d) in grey.

    A histogram has the central 99.8% of values; d is at most 12. Rows that are not finite are left out.
    """
    given = [(as_tensor(x, "a set"), color) for x, color in ((samples, "C0"), (data, "0.4")) if x is not None]
    sets = [(x.detach().double().cpu()[x.cpu().isfinite().all(-1)], color) for x, color in given if x.dim() == 2]
    d = given[0][0].shape[-1]
    if len(sets) < len(given) or any(x.shape[1] != d or not len(x) for x, _ in sets):
        shapes = " and ".join(str(tuple(x.shape)) for x, _ in given)
        raise ValueError(f"a corner plot is of samples (n, d) and data (m, d), some rows of each finite; got {shapes}.")
    if d > 12:
        raise ValueError(f"a corner plot shows 12 features at most; these are {d}. Choose some: samples[:, [0, 3]].")
    names = _named(names, d, "feature")
    ends = torch.stack([x[:HISTOGRAM].quantile(torch.tensor([0.001, 0.999]).double(), 0) for x, _ in sets])
    low, high = ends[:, 0].amin(0), ends[:, 1].amax(0)
    room = 0.5 * (low == high)  # around a constant
    limits = [*zip((low - room).tolist(), (high + room).tolist(), strict=True)]
    figure = _figure(1.6 * d + 0.8, 1.6 * d + 0.8)
    for i in range(d):
        for j in range(i + 1):
            axes = figure.add_subplot(d, d, i * d + j + 1)
            for x, color in sets:
                if i == j:
                    values = x[:HISTOGRAM, i].numpy()
                    axes.hist(values, bins=40, range=limits[i], density=True, histtype="step", color=color)
                else:
                    axes.plot(*x[:POINTS, [j, i]].T.numpy(), ".", ms=2, alpha=0.4, color=color)
                    axes.set(ylim=limits[i])
            axes.set(xlim=limits[j], xticks=[], yticks=[])
            if i == d - 1:
                axes.set_xlabel(names[j])
            if j == 0 and i:
                axes.set_ylabel(names[i])
    return figure


def _named(names: Sequence[str], count: int, what: str) -> list[str]:
    """The names given, one each, or "x[0]", …."""
    if len(names) not in (0, count):
        raise ValueError(f"give a name for each of {count} {what}s, or none; got {len(names)}.")
    return [*names] or [f"x[{i}]" for i in range(count)]


def _band(expected: Tensor, events: int) -> tuple[Tensor, Tensor]:
    """The central 95% interval of binomial counts, in the normal approximation."""
    reach = 1.96 * (expected * (1 - expected / events)).sqrt()
    return expected - reach, expected + reach


def _figure(width: float, height: float) -> Figure:
    """A figure made without matplotlib's global state."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plots need matplotlib: pip install 'pushforward[plots]' installs it.") from error
    return Figure((width, height), layout="constrained")

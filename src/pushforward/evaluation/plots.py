"""Pictures of calibration, as matplotlib's figures: `figure.savefig(path)`, or the last line of a notebook's cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.evaluation.calibration import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_ranks(calibration: Calibration, names: Sequence[str] = (), *, bins: int = 10, columns: int = 4) -> Figure:
    """A histogram of ranks for each element of an event, over the band in which 95% of an exact flow's bars end.

    A hump in the middle: the flow is not sure enough. A valley: too sure. A slope: biased. Talts et al. 2018,
    arXiv:1804.06788.
    """
    counted, expected = calibration.histogram(bins)
    counted = counted.reshape(-1, bins)
    names = names or [f"x[{i}]" for i in range(len(counted))]
    if len(names) != len(counted):
        raise ValueError(f"give a name for each of {len(counted)} numbers, or none; got {len(names)}.")
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
    """How much regions of highest density cover, over what they claim to, and the band of 95% around an exact flow's.

    Under the diagonal the flow is too sure of itself. Hermans et al. 2021, arXiv:2110.06581.
    """
    contents, events = torch.linspace(0, 1, calibration.draws + 2, device="cpu"), len(calibration.ranks)
    low, high = _band(events * contents, events)
    figure = _figure(3.2, 3.2)
    axes = figure.add_subplot()
    axes.fill_between(contents, low / events, high / events, color="0.85")
    axes.plot(contents, [calibration.coverage(content) for content in contents.tolist()], color="C0")
    axes.set(xlabel="content of the region", ylabel="events inside", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure


def _band(expected: Tensor, events: int) -> tuple[Tensor, Tensor]:
    """Where 95% of binomial counts with that mean lie, in the normal approximation."""
    reach = 1.96 * (expected * (1 - expected / events)).sqrt()
    return expected - reach, expected + reach


def _figure(width: float, height: float) -> Figure:
    """A figure of its own, which touches no global state of matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "plots are drawn by matplotlib. pip install 'pushforward[plots]' installs it."
        ) from error
    return Figure((width, height), layout="constrained")

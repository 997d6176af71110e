"""Plots of a run: its losses, and for a table its samples beside the held-out rows."""

from pathlib import Path
from typing import NamedTuple

import torch

from pushforward.data import TableSource
from pushforward.evaluation import plot_corner, plot_history
from pushforward.fitting import Moment, moments
from pushforward.randomness import keyed
from pushforward.runs.data import recipe_of
from pushforward.runs.folder import folder_of, load_coded
from pushforward.training import Log
from pushforward.training.log import BESIDES

SHOWN = 8  # columns of a table in a corner plot


def plot(run: Path, out: Path | None = None, n: int = 5000, device: str = "auto") -> str:
    """Draw the losses of a run, loss.png, and of a run on a table samples beside held-out rows, corner.png.

    A corner plot shows the first eight columns. Where rows have weights, as many as samples are drawn by these. Where
    there is a context, each sample is given that of a held-out row.

    Args:
        run: The run folder.
        out: The folder of the plots; by default the run folder.
        n: How many samples.
        device: cpu, cuda, mps, or auto.
    """
    if n < 1:
        raise ValueError(f"draw at least one sample; got n={n}.")
    recipe, out = recipe_of(run), folder_of(run) if out is None else out
    curves = history(Log(folder_of(run)).read())
    out.mkdir(parents=True, exist_ok=True)
    plot_history(curves.scores, name=curves.name, held_out=curves.held_out).savefig(out / "loss.png", dpi=150)
    if not isinstance(recipe.data, TableSource):
        return f"{out / 'loss.png'}"
    coded, rows = load_coded(run, device=device), recipe.data.held_out(recipe.takes())
    if rows.weights is not None:
        rows = rows.part(torch.multinomial(rows.weights.double(), n, replacement=True, generator=keyed(1)))
    with torch.no_grad():
        shape, context = (n,), None
        if rows.context is not None:
            shape, context = (), rows.context[torch.arange(n) % len(rows)]
        x = coded.flow.sample(shape, context, generator=keyed(0))
    shown, names = coded.codec.decode(x).cpu(), recipe.data.columns[:SHOWN]
    plot_corner(shown[:, : len(names)], rows.events[:, : len(names)], names).savefig(out / "corner.png", dpi=150)
    return f"{out / 'loss.png'}, {out / 'corner.png'}"


class Curves(NamedTuple):
    """The scores of a training, as `plot_history` takes them. Of nats they are log p."""

    scores: tuple[Moment, ...]
    name: str  # of the scores of batches
    held_out: str  # of those of held-out events, which may be of another unit


def history(lines: list[dict[str, float]]) -> Curves:
    """The scores in the lines of a log."""
    if not lines:
        raise ValueError("the run has no log of its training.")
    names = {name: None for line in lines for name in line if name not in BESIDES}
    unit = next(name for name in names if not name.startswith("held-out "))
    looked = next((name.removeprefix("held-out ") for name in names if name.startswith("held-out ")), unit)
    name, held_out = ("log p, nats" if each == "nats" else each for each in (unit, looked))
    return Curves(moments(lines, unit, looked), name, held_out)

"""Log-densities of the rows of a file, by a run on a table."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pushforward.codecs import CodedFlow
from pushforward.data import Arrays, TableSource
from pushforward.data.data import naming
from pushforward.data.tables import Table, check_writable, others, write_table
from pushforward.evaluation import held_out
from pushforward.runs.data import check_apart, recipe_of
from pushforward.runs.folder import load_coded
from pushforward.transforms import Integers, ProductSupport

LOG_PROB = "log_prob"  # the name of the column


def score(
    run: Path,
    data: str | None = None,
    out: Path = Path("scores.csv"),
    samples: int = 1,
    missing: Literal["refuse", "drop"] = "refuse",
    device: str = "auto",
) -> str:
    """Write the log-density of each row of a table, in nats: `pushforward score DIR --data new.csv --out scores.csv`.

    The file has the rows in their order, the columns that the run knows, and log_prob. It is −inf outside of the
    supports, and a lower bound where columns are of integers.

    Args:
        run: The run folder.
        data: A table with the columns of the run, of which others are not used; by default the one that it learned.
        out: A .csv, .tsv, .parquet or .npz file.
        samples: Draws of the codec for each row, where columns are of integers; more give a tighter bound.
        missing: Rows that lack a value: refuse the table, or leave them out.
        device: cpu, cuda, mps, or auto.
    """
    check_writable(out)
    check_apart(out, run, *([] if data is None else [data]))
    source = recipe_of(run).data
    if not isinstance(source, TableSource):
        raise ValueError(f"score is for tables, and {run} learned {source}. For images: pushforward evaluate {run}.")
    source = replace(source, path=data or source.path, missing=missing, weights=None)
    table = source.table()
    with naming(source.path):
        table.check(source.used)
    coded = load_coded(run, device=device)
    log_prob = _log_prob(coded, source.rows(table), table, source, samples)
    used = {name: table.take([name])[:, 0] for name in (*source.context, *source.columns)}
    write_table({**table.index, **used, LOG_PROB: log_prob}, out)
    inside = log_prob[np.isfinite(log_prob)]
    told = f"mean log p {inside.mean():.3f} nats" if len(inside) else "none of them in the supports"
    outside = f"; {len(log_prob) - len(inside)} are outside of the supports, or overflowed" if len(inside) else ""
    return f"{len(log_prob)} rows in {out}: {told}" + (outside if len(inside) < len(log_prob) else "")


def _log_prob(coded: CodedFlow, rows: Arrays, table: Table, source: TableSource, samples: int) -> np.ndarray:
    """log p of each row, (n,): −inf outside of the supports."""
    support = coded.flow.support
    inside = torch.ones(len(rows), dtype=torch.bool)
    if isinstance(support, ProductSupport):
        whole = [isinstance(s, Integers) for s in support.supports]
        _check_integers(table, [name for name, integer in zip(source.columns, whole, strict=True) if integer])
        inside = ~support.outside(rows.events + 0.5 * torch.tensor(whole)).any(1)
    log_prob = torch.full((len(rows),), -torch.inf, dtype=torch.float64)
    if inside.any():
        log_prob[inside] = held_out(coded, rows.part(inside.nonzero().flatten()), samples=samples).cpu().to(log_prob)
    return log_prob.numpy()


def _check_integers(table: Table, names: list[str]) -> None:
    """Raise ValueError where columns of integers hold other numbers."""
    for name in names:
        values = table.take([name])[:, 0]
        rows = np.flatnonzero(values != np.floor(values))
        if len(rows):
            raise ValueError(
                f"column {name!r} is of integers, and is {values[rows[0]]:g} at {table.at(rows[0])}"
                f"{others(len(rows) - 1)}. Correct such rows, or leave them out."
            )

"""Samples of a run: a picture, a table, or a stream of files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.codecs import CodedFlow
from pushforward.evaluation import check_picture, save_picture
from pushforward.files import replacing, write
from pushforward.runs.data import class_names
from pushforward.runs.folder import load_coded, read_recipe
from pushforward.runs.null import check_sampling
from pushforward.runs.pictures import sheet
from pushforward.sampling import Sampling, samples

SHARD = 1000  # samples in a file


def sample(
    run: Path,
    out: Path | None = None,
    n: int = 64,
    png: bool = False,
    sampling: Sampling = Sampling(),
    device: str = "auto",
) -> str:
    """Draw samples of a run: `pushforward sample DIR --n 64 --guidance 2 --label 3 --out grid.png`.

    Into a folder it writes files samples-000000.npz, samples-001000.npz … of a thousand each, with integer `images` and
    `labels`. One file is in memory at a time. After an interruption, the same command continues.

    Args:
        run: The run folder.
        out: A picture, a .npz file or a folder; of a run on a table a .csv file. By default samples.png, samples.csv.
        n: How many.
        png: Into a folder write a PNG file for each, in a folder of its class where it has one.
        device: cpu, cuda, mps, or auto.
    """
    if n < 1:
        raise ValueError(f"draw at least one sample; got n={n}.")
    recipe = read_recipe(run)
    source = recipe.data
    out = Path(out or ("samples.csv" if source.columns else "samples.png"))
    check_sampling(run, recipe, sampling)
    if not source.columns and out.suffix not in ("", ".npz"):
        check_picture(out)
    coded = load_coded(run, device=device)
    if len(source.context) != len(sampling.context):
        raise ValueError(
            f"{run} is conditioned on {', '.join(source.context) or 'no columns'}: give --context a value for each; "
            f"got {len(sampling.context)}. For many contexts, use pf.load({str(run)!r}).sample."
        )
    lost = 0
    if source.columns:
        decode = coded.codec.decode
        rows = (row for x, _ in samples(coded, sampling, stop=n) for row in decode(x).tolist())
        _write_table(source.columns, rows, out)
    elif out.suffix == ".npz":
        lost = _write_file(coded, out, sampling, range(n))
    elif out.suffix:
        drawn = torch.cat([x.cpu() for x, _ in samples(coded, sampling, stop=n)])
        save_picture(sheet(drawn, sampling, class_names(run, coded.flow.classes)), out)
        lost = len(drawn) - _finite(drawn).sum().item()
    elif png:
        lost = _write_pngs(coded, out, range(n), sampling, class_names(run, coded.flow.classes))
    else:
        lost = _write_files(coded, out, n, sampling)
    return f"{n} samples in {out}" + (f"; {lost} of them overflowed" if lost else "")


def _write_files(coded: CodedFlow, folder: Path, n: int, sampling: Sampling) -> int:
    """Write n samples into files of a thousand each. Returns how many overflowed, and were left out."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, chosen = folder / "sampling.json", json.dumps(asdict(sampling), indent=2) + "\n"
    if settings.exists() and settings.read_text() != chosen:
        raise ValueError(f"{folder} holds samples with other settings, see {settings}. Give another folder.")
    write(settings, chosen)
    lost = 0
    for start in range(0, n, SHARD):
        path, rows = folder / f"samples-{start:06d}.npz", range(start, min(n, start + SHARD))
        if path.exists():
            with np.load(path) as arrays:
                known = int(arrays["overflowed"]) if "overflowed" in arrays else 0
                if len(arrays["images"]) + known == len(rows):
                    lost += known
                    continue
        lost += _write_file(coded, path, sampling, rows)
    return lost


def _write_pngs(coded: CodedFlow, folder: Path, rows: range, sampling: Sampling, names: Sequence[str]) -> int:
    """Write these samples as PNG files. Returns how many overflowed, and were left out."""
    lost, first = 0, rows.start
    for x, labels in samples(coded, sampling, start=rows.start, stop=rows.stop):
        finite = _finite(x).cpu()
        lost += int((~finite).sum())
        images = coded.codec.decode(x).cpu()
        for i in finite.nonzero().flatten().tolist():
            place = folder if labels is None else folder / names[int(labels[i])].replace("/", "_")
            save_picture(images[i] / (coded.codec.levels - 1), place / f"{first + i:06d}.png")
        first += len(x)
    return lost


def _write_file(coded: CodedFlow, path: Path, sampling: Sampling, rows: range) -> int:
    """Write these samples as integer images, without those that overflowed. Returns how many these are."""
    drawn = list(samples(coded, sampling, start=rows.start, stop=rows.stop))
    finite = torch.cat([_finite(x).cpu() for x, _ in drawn])
    images = torch.cat([coded.codec.decode(x).cpu() for x, _ in drawn])[finite]
    arrays = {"images": images.numpy(), "overflowed": np.array(len(rows) - len(images))}
    if coded.flow.classes:
        arrays["labels"] = torch.cat([labels for _, labels in drawn if labels is not None])[finite].numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as begun, begun.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return int(arrays["overflowed"])


def _finite(x: Tensor) -> Tensor:
    """Which samples are finite, (n,) of bool."""
    return x.flatten(1).isfinite().all(1)


def _write_table(columns: tuple[str, ...], rows: Iterable[list[float]], out: Path) -> None:
    """Write rows under the names of their columns, as CSV; integers without a decimal point."""
    if out.suffix != ".csv":
        raise ValueError(f"this run is on a table: give --out samples.csv, not {out}.")
    with replacing(out) as begun, begun.open("w", newline="") as file:
        cells = ([int(v) if v.is_integer() else v for v in row] for row in rows)
        csv.writer(file, lineterminator="\n").writerow(columns)
        csv.writer(file, lineterminator="\n").writerows(cells)

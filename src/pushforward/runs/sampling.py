"""Samples of a run: a picture, a table, or a stream of files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from pushforward.codecs import CodedFlow, placed
from pushforward.data import CaptionDocuments, Captioned, Source, SourceOfClips, TextSource
from pushforward.data.data import digest
from pushforward.data.tables import check_writable, write_table
from pushforward.evaluation import check_picture, grid, save_picture
from pushforward.files import replacing, write
from pushforward.runs.clips import sample_clips
from pushforward.runs.data import check_apart, class_names, class_number
from pushforward.runs.folder import load_coded, read_json, read_recipe
from pushforward.runs.given import Given, read_given
from pushforward.runs.null import check_sampling
from pushforward.runs.options import check_read
from pushforward.runs.pictures import sheet
from pushforward.runs.texts import sample_text
from pushforward.sampling import Sampling, samples

SHARD = 1000  # samples in a file


def sample(
    run: Path,
    out: Path | None = None,
    n: int = 64,
    given: tuple[str, ...] = (),
    png: bool = False,
    sampling: Sampling = Sampling(),
    device: str = "auto",
) -> str:
    """Draw samples of a run: `pushforward sample DIR --n 64 --guidance 2 --label 3 --out grid.png`.

    Into a folder it writes files samples-000000.npz, samples-001000.npz … of a thousand each, with integer `images` and
    `labels`. One file is in memory at a time. After an interruption, the same command continues.

    Of a run on clips: `pushforward sample DIR --n 1 --prompt "walking left, blue robe" --frames 24 --out walk.gif`, or
    a .png, .webp or .mp4. With `--first-frame start.png` they begin with that image. With `--sweeps` the same clips may
    be drawn faster, frame by frame: see `solve.jacobi`.

    Of a run on captions: `pushforward sample DIR --n 4 --prompt "red heart" "smiling cat" --guidance 2 --out grid.png`.

    Of a run on text: `pushforward sample DIR --n 5 --length 400 --prompt "ROMEO:"`. Texts are printed, or written to
    `out`. With `--gap _` and a prompt such as "to be or _ to be", `length` tokens are drawn in the place of the mark.

    Of a run on a table: `pushforward sample DIR --n 1000 --given mass=1 energy=5e4 --out samples.csv`.

    Args:
        run: The run folder.
        out: A picture, a .npz file or a folder; for a run on a table a .csv, .tsv, .parquet or .npz file; for a run on
            text a text file. By default samples.png, samples.gif of clips, or samples.csv; texts are printed.
        n: How many; for each row, where `given` is a file, and for each prompt.
        given: What samples of a table are conditioned on: NAME=VALUE for each column of the context, or a file with
            these columns; its rows then come before their samples.
        png: Into a folder write a PNG file for each image, in a folder of its class where it has one.
        device: cpu, cuda, mps, or auto.
    """
    if n < 1:
        raise ValueError(f"draw at least one sample; got n={n}.")
    recipe = read_recipe(run)
    source = recipe.data
    sampling = replace(sampling, label=class_number(run, sampling.label))
    check_read(run, source, sampling, given=given, png=png)
    check_sampling(run, recipe, sampling)
    if isinstance(source, TextSource):
        return sample_text(run, out, n, sampling, device)
    clips = isinstance(source, SourceOfClips)
    out = Path(out or ("samples.csv" if source.columns else "samples.gif" if clips else "samples.png"))
    check_apart(out, run, *given)
    if source.columns:
        return _sample_table(run, source, out, n, read_given(source, given), sampling, device)
    if clips:
        return sample_clips(run, source, out, n, sampling, device)
    if isinstance(source, Captioned | CaptionDocuments):
        return _sample_prompts(run, source, out, n, sampling, device)
    return _sample_images(run, out, n, png, sampling, device)


def _sample_images(run: Path, out: Path, n: int, png: bool, sampling: Sampling, device: str) -> str:
    """Write n samples: a picture, a file of arrays, or a folder of files."""
    if png and out.suffix:
        raise ValueError(f"--png writes a file for each image into a folder, such as --out samples; got {out}.")
    if out.suffix not in ("", ".npz"):
        check_picture(out)
    coded, lost = load_coded(run, device=device), 0
    if out.suffix == ".npz":
        lost = _write_file(coded, out, sampling, range(n))
    elif out.suffix:
        drawn = [*samples(coded, sampling, stop=n)]
        x = torch.cat([some.events.cpu() for some in drawn])
        save_picture(sheet(x, sampling, class_names(run, coded.flow.classes)), out)
        lost = n - sum(int(some.finite.sum()) for some in drawn)
    elif png:
        lost = _write_pngs(coded, out, range(n), sampling, class_names(run, coded.flow.classes))
    else:
        lost = _write_files(coded, out, n, sampling)
    return f"{n} samples in {out}" + (f"; {lost} of them overflowed" if lost else "")


def _sample_prompts(
    run: Path, source: Captioned | CaptionDocuments, out: Path, n: int, sampling: Sampling, device: str
) -> str:
    """Write a picture with n samples of each prompt in a row."""
    if not sampling.prompt:
        raise ValueError(f'{run} learned captions: say what to draw, as in --prompt "red heart" "smiling cat".')
    check_picture(out)
    text = source.text(sampling.prompt).repeat_interleave(n, 0)
    coded = load_coded(run, device=device)
    drawn = torch.cat([some.data.cpu() for some in samples(coded, sampling, text, stop=len(text))])
    save_picture(grid(placed(drawn, coded.codec.levels), n), out)
    return f"{len(drawn)} samples in {out}"


def _write_files(coded: CodedFlow, folder: Path, n: int, sampling: Sampling) -> int:
    """Write n samples into files of a thousand each. Returns how many overflowed, and were left out."""
    _check_settings(coded, folder / "sampling.json", sampling)
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


def _check_settings(coded: CodedFlow, file: Path, sampling: Sampling) -> None:
    """Write how samples are drawn, and of which weights. Raises ValueError where the file says that others were."""
    chosen = json.loads(json.dumps({**asdict(sampling), "weights": digest(coded.flow.state_dict().values())}))
    known = read_json(file)
    if others := [name for name in known if known[name] != chosen.get(name)]:
        what = "of another run" if others == ["weights"] else "with other settings"
        raise ValueError(f"{file.parent} holds samples {what}, see {file}. Give another folder.")
    write(file, json.dumps(chosen, indent=2) + "\n")


def _write_pngs(coded: CodedFlow, folder: Path, rows: range, sampling: Sampling, names: Sequence[str]) -> int:
    """Write these samples as PNG files. Returns how many overflowed, and were left out."""
    lost, first = 0, rows.start
    for some in samples(coded, sampling, start=rows.start, stop=rows.stop):
        finite = some.finite.cpu()
        lost += int((~finite).sum())
        images = some.data.cpu()
        for i in finite.nonzero().flatten().tolist():
            place = folder if some.labels is None else folder / names[int(some.labels[i])].replace("/", "_")
            save_picture(images[i] / (coded.codec.levels - 1), place / f"{first + i:06d}.png")
        first += len(images)
    return lost


def _write_file(coded: CodedFlow, path: Path, sampling: Sampling, rows: range) -> int:
    """Write these samples as integer images, without those that overflowed. Returns how many these are."""
    drawn = list(samples(coded, sampling, start=rows.start, stop=rows.stop))
    finite = torch.cat([some.finite.cpu() for some in drawn])
    images = torch.cat([some.data.cpu() for some in drawn])[finite]
    arrays = {"images": images.numpy(), "overflowed": np.array(len(rows) - len(images))}
    if coded.flow.classes:
        arrays["labels"] = torch.cat([some.labels for some in drawn if some.labels is not None])[finite].numpy()
    with replacing(path) as begun, begun.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return int(arrays["overflowed"])


def _sample_table(run: Path, source: Source, out: Path, n: int, given: Given, sampling: Sampling, device: str) -> str:
    """Write n samples for each row that is given as a table."""
    check_writable(out)
    coded, rows = load_coded(run, device=device), np.repeat(given.rows, n, 0)
    context = torch.from_numpy(rows) if source.context else None
    drawn = torch.cat([some.data.cpu() for some in samples(coded, sampling, context, stop=len(rows))]).numpy()
    columns = dict(zip(source.columns, drawn.T, strict=True))
    if given.from_a_file:
        columns = {**dict(zip(source.context, rows.T, strict=True)), **columns}
    write_table(columns, out)
    lost = (~np.isfinite(drawn)).any(1).sum()
    return f"{len(rows)} samples in {out}" + (f"; {lost} of them overflowed" if lost else "")

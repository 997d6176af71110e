"""A table in a file becomes a run, whose samples are a table of the same columns."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.cli import Columns
from pushforward.cli.main import main
from pushforward.data.columns import read_table

VALUES = np.random.default_rng(0).normal([3, -200, 0, 0], [1, 50, 1, 1], (300, 4))
VALUES[:, 3] = np.abs(VALUES[:, 3])
NAMES = ["energy", "angle", "mass", "weight"]


def in_csv(folder: Path, text: str | None = None) -> Path:
    path = folder / "table.csv"
    lines = [",".join(NAMES), *(",".join(map(str, row)) for row in VALUES)]
    path.write_text("\n".join(lines) + "\n" if text is None else text)
    return path


def in_parquet(folder: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(zip(NAMES, VALUES.T, strict=True))), folder / "table.parquet")
    return folder / "table.parquet"


def in_npz(folder: Path) -> Path:
    np.savez(folder / "table.npz", **dict(zip(NAMES, VALUES.T, strict=True)))
    return folder / "table.npz"


@pytest.mark.parametrize("make", [in_csv, in_parquet, in_npz])
def test_a_table_is_the_same_in_every_kind_of_file(make, tmp_path):
    table = read_table(make(tmp_path))
    assert list(table.columns) == NAMES
    np.testing.assert_array_equal(table.take(["mass", "energy"]), VALUES[:, [2, 0]])


def test_columns_without_names_are_numbered(tmp_path):
    assert list(read_table(in_csv(tmp_path, "1,2.5\n3,4\n")).columns) == ["x0", "x1"]
    np.savez(tmp_path / "x.npz", x=VALUES, y=VALUES[:, 0])
    assert list(read_table(tmp_path / "x.npz").columns) == ["x0", "x1", "x2", "x3", "y"]


def command(monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["pushforward", *map(str, words)])
    main()


def test_samples_of_a_run_on_a_table_have_its_columns(tmp_path, monkeypatch, capsys):
    run, out = tmp_path / "run", tmp_path / "samples.csv"
    command(monkeypatch, "train", "--data", in_csv(tmp_path), "--out", run, "--weights", "weight", "--steps", 20)
    assert "held-out log p: " in capsys.readouterr().out.splitlines()[-1]
    command(monkeypatch, "sample", run, "--n", 7, "--out", out)
    header, *rows = csv.reader(out.read_text().splitlines())
    assert header == NAMES[:3]
    assert len(rows) == 7
    assert all(-500 < float(row[1]) < 0 for row in rows), "in the units of the table"
    assert "held-out log p" in (run / "README.md").read_text()
    command(monkeypatch, "check", run)
    assert "outside a spline's bounds" in capsys.readouterr().out
    for words in (["sample", run, "--out", "grid.png"], ["train", "--data", tmp_path / "table.csv", "--out", run]):
        with pytest.raises(SystemExit, match="this run learned a table|holds a run already"):
            command(monkeypatch, *words)
    with pytest.raises(SystemExit, match=r"learned a table, .*table.csv, and no images"):
        command(monkeypatch, "evaluate", run)


def test_columns_of_a_table_have_supports(tmp_path, monkeypatch):
    rows = np.random.default_rng(0)
    columns = {"jets": rows.integers(0, 5, 300), "phi": rows.uniform(0, 360, 300), "mass": rows.exponential(1, 300)}
    np.savez(tmp_path / "table.npz", **columns)
    run, out, learned = tmp_path / "run", tmp_path / "samples.csv", ["train", "--data", tmp_path / "table.npz", "--out"]
    supports = ["--supports", "jets=integers:0:4", "phi=circle:0:360", "mass=interval:0:"]
    command(monkeypatch, *learned, run, *supports, "--model", "circularnsf", "--steps", 5)
    command(monkeypatch, "sample", run, "--n", 50, "--out", out)
    command(monkeypatch, "check", run, "--n", 20)
    header, *drawn = csv.reader(out.read_text().splitlines())
    assert header == list(columns)
    assert {jets for jets, *_ in drawn} <= set("01234")
    assert all(0 <= float(phi) < 360 and float(mass) > 0 for _, phi, mass in drawn)
    for wrong, message in (
        (["--supports", "phi=circle:0:360"], "NSF takes intervals and integers alone. CircularNSF takes both"),
        (["--supports", "psi=circle:0:360"], "of a column that is learned .*; got 'psi=circle:0:360'"),
        (["--supports", "phi=ring:0:360"], "got 'phi=ring:0:360'"),
        (["--supports", "phi=circle:0"], "got 'phi=circle:0'"),
        (["--supports", "jets=integers:0:3"], r"outside of Integers\(low=0, high=3\)"),
    ):
        with pytest.raises(SystemExit, match=message):
            command(monkeypatch, *learned, tmp_path / "refused", *wrong)


def test_a_run_on_a_table_given_some_columns(tmp_path):
    pf.cli.learn(in_npz(tmp_path), tmp_path / "run", Columns(given=("mass", "angle")), model="maf", steps=5)
    assert pf.cli.check(tmp_path / "run", n=9)["float64"].round_trip < 1e-12
    flow = pf.load(tmp_path / "run")
    assert flow.sample((), torch.tensor([[0.0, -200.0]])).shape == (1, 2)
    with pytest.raises(ValueError, match="is conditioned on mass, angle: give them"):
        pf.sample(tmp_path / "run", tmp_path / "samples.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file holds no rows"),
        ("a,b\n", "the file holds no rows"),
        ("a,b\n1,2\n3,x\n", r"table.csv: could not convert string 'x' to float64 at row 1, column 2"),
        ("a,a\n1,2\n", "there are 2 columns, and the first line names a, a"),
        ("a,b\n1,2\n3\n", "table.csv: .*number of columns changed"),
    ],
)
def test_a_csv_that_cannot_be_used_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(in_csv(tmp_path, text))


def test_other_tables_that_cannot_be_used(tmp_path):
    np.savez(tmp_path / "words.npz", word=np.array(["a", "b"]))
    np.savez(tmp_path / "uneven.npz", a=np.ones(2), b=np.ones(3))
    for name, message in (
        ("words.npz", "the column word is of <U1, and a flow takes numbers"),
        ("uneven.npz", r"columns are of one length, at least 1; these are of .*\(2,\).*\(3,\)"),
        ("table.xls", "ends in '.xls'; a table ends in .csv, .parquet, .npz"),
    ):
        with pytest.raises(ValueError, match=message):
            read_table(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="there is no column 'colour'; there are energy, angle, mass, weight"):
        pf.cli.learn(in_npz(tmp_path), tmp_path / "run", Columns(weights="colour"))
    with pytest.raises(ValueError, match="no column of .* is left to learn"):
        pf.cli.learn(in_npz(tmp_path), tmp_path / "run", Columns(given=tuple(NAMES)))

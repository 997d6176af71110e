"""A table in a file becomes a run, whose samples are a table of the same columns."""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.cli.main import main
from pushforward.data import Arrays
from pushforward.data.columns import read_table
from pushforward.training import Log

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


def test_a_run_on_a_table_takes_every_command_that_needs_no_images(tmp_path, monkeypatch, capsys):
    run, out = tmp_path / "run", tmp_path / "samples.csv"
    train = ["train", "--data", in_csv(tmp_path), "--out", run, "--weights", "weight", "--steps", 20, "--device", "cpu"]
    command(monkeypatch, *train)
    assert capsys.readouterr().out.splitlines()[-1].startswith("held-out log p: ")
    command(monkeypatch, "sample", run, "--n", 7, "--out", out)
    header, *rows = csv.reader(out.read_text().splitlines())
    assert header == NAMES[:3]
    assert len(rows) == 7
    assert all(-500 < float(row[1]) < 0 for row in rows), "in the units of the table"
    assert "held-out log p" in (run / "README.md").read_text()
    command(monkeypatch, "check", run)
    assert "outside a spline's bounds" in capsys.readouterr().out
    command(monkeypatch, "evaluate", run)
    assert re.search(r"held-out: [0-9.]+ ± [0-9.]+ nats \(a bound: Identity\(\)", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="this run is on a table"):
        command(monkeypatch, "sample", run, "--out", "grid.png")
    for words in ("classify", "edit", "denoise", "inpaint", "interpolate"):
        with pytest.raises(
            SystemExit, match=r"learned .*table.csv, which holds no images|was trained without Gaussian noise"
        ):
            command(monkeypatch, words, run)


def recipe(folder: Path, **plan) -> pf.Recipe:
    made = pf.recipes.table(in_npz(folder), weights="weight", model="maf", steps=30)
    quick = {
        "batch": 32,
        "measure_every": 1,
        "patience": 2,
        "checkpoint_every": 1,
        "lr": 0.03,
        "warmup": 1,
        "average_decay": 0.0,
    }
    return replace(made, train=replace(made.train, **{**quick, **plan}))


def test_a_training_that_ends_early_can_be_interrupted_and_ends_with_the_same_weights(tmp_path):
    whole = recipe(tmp_path)
    pf.train(whole, tmp_path / "alone")
    told = pf.runs.read_results(tmp_path / "alone")["training"]
    assert told["stopped"] == "stopped early"
    assert told["best_step"] == told["steps"] - 2 < 28
    costs = [line["held-out nats"] for line in Log(tmp_path / "alone").read()]
    assert min(costs) == costs[told["best_step"] - 1] == pytest.approx(-told["score"])
    coded, rows = pf.runs.load_coded(tmp_path / "alone"), whole.held_out_data()
    assert pf.evaluation.held_out_mean(coded, rows).mean == pytest.approx(-told["score"], abs=1e-5)

    def broken(self, data):
        if self.calls == told["steps"] - 1:
            raise InterruptedError
        self.calls += 1
        return Arrays.fetch(self, data)

    class Broken(Arrays):
        calls, fetch = 0, broken

    with pytest.MonkeyPatch.context() as patch:
        data = whole.training_data()
        patch.setattr(pf.Recipe, "training_data", lambda _: Broken(data.events, weights=data.weights))
        with pytest.raises(InterruptedError):
            pf.train(whole, tmp_path / "broken")
    pf.train(whole, tmp_path / "broken")
    again = tmp_path / "alone"
    pf.train(whole, again)  # it has ended, and nothing changes
    one, two, three = (pf.load(run).state_dict() for run in (tmp_path / "alone", tmp_path / "broken", again))
    assert all(torch.equal(one[name], two[name]) and torch.equal(one[name], three[name]) for name in one)
    assert pf.runs.read_results(tmp_path / "broken")["training"]["score"] == told["score"]


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
        (["--supports", "psi=circle:0:360"], "of a column that is learned .*; got 'psi'"),
        (["--supports", "phi=ring:0:360"], "got 'phi=ring:0:360'"),
        (["--supports", "phi=circle:0"], "got 'phi=circle:0'"),
        (["--supports", "jets=integers:0:3"], r"outside of Integers\(low=0, high=3\)"),
    ):
        with pytest.raises(SystemExit, match=message):
            command(monkeypatch, *learned, tmp_path / "refused", *wrong)
    assert not list(tmp_path.glob("refused/*.safetensors"))


def test_a_run_on_a_table_given_some_columns(tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "samples.csv"
    pf.train(pf.recipes.table(in_npz(tmp_path), context=("mass", "angle"), model="maf", steps=5), run)
    assert pf.runs.check(run, n=9)["float64"].round_trip < 1e-12
    assert pf.load(run).sample((), torch.tensor([[0.0, -200.0]])).shape == (1, 2)
    command(monkeypatch, "sample", run, "--context", 0, -200, "--n", 4, "--out", out)
    assert out.read_text().splitlines()[0] == "energy,weight"
    assert len(out.read_text().splitlines()) == 5
    with pytest.raises(ValueError, match="is conditioned on mass, angle: give --context a value for each; got 0"):
        pf.sample(run, out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file holds no rows"),
        ("a,b\n", "the file holds no rows"),
        ("a,b\n1,2\n3,x\n", r"table.csv: could not convert string 'x' to float64 at row 1, column 2"),
        ("a,a\n1,2\n", "there are 2 columns, and the header is a, a"),
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
        ("words.npz", "the column word holds <U1, and a flow takes numbers"),
        ("uneven.npz", r"columns have one length, at least 1; these have .*\(2,\).*\(3,\)"),
        ("table.xls", "ends in '.xls'; a table ends in .csv, .parquet, .npz"),
    ):
        with pytest.raises(ValueError, match=message):
            read_table(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="there is no column 'colour'; there are energy, angle, mass, weight"):
        pf.recipes.table(in_npz(tmp_path), weights="colour")
    with pytest.raises(ValueError, match="no column of .* is left to learn"):
        pf.recipes.table(in_npz(tmp_path), context=NAMES)

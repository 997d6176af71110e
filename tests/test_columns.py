"""A table in a file becomes a run, whose samples are a table of the same columns."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import re
import sys
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.cli.main import main
from pushforward.cli.tables import train_on_table
from pushforward.data import Arrays, TableSource, Takes
from pushforward.data.tables import Table, read_table, write_table
from pushforward.training import Log

VALUES = np.random.default_rng(0).normal([3, -200, 0, 0], [1, 50, 1, 1], (300, 4))
VALUES[:, 3] = np.abs(VALUES[:, 3])
VALUES[:, 2] += 2 * (VALUES[:, 0] - 3)
NAMES = ["energy", "angle", "mass", "weight"]


def in_csv(folder: Path, text: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
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


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz"])
def test_a_table_is_read_as_it_was_written_whatever_its_names(suffix, tmp_path):
    names = ["file", "allow_pickle", "arr_0", "a/b", "für\n", 'a,"b"', "x.npy", "漢字", "-"]
    columns = {name: np.array([i, i + 0.5]) for i, name in enumerate(names)}
    write_table(columns, tmp_path / f"table{suffix}")
    found = read_table(tmp_path / f"table{suffix}").columns
    assert {name.strip(): column.tolist() for name, column in columns.items()} == {
        name.strip(): column.tolist() for name, column in found.items()
    }


@pytest.mark.parametrize("columns", [("a", "a"), ("a", "b"), ("a", "w")])
def test_a_column_is_named_once(columns):
    with pytest.raises(ValueError, match=rf"column '{columns[-1]}' is named twice"):
        TableSource("t.csv", columns, ("b",), "w")


@pytest.mark.parametrize(
    ("kept", "told"), [(2, "column 'a' is 1 in all 30 rows"), (20, "there are 3 rows of 2 columns")]
)
def test_rows_without_weight_do_not_count_as_rows_to_learn(kept, told, tmp_path):
    rows = [f"{1 if i % kept == 0 else i},{i * i % 17},{int(i % kept == 0)}" for i in range(60)]
    path = in_csv(tmp_path, "\n".join(["a,b,w", *rows]))
    with pytest.raises(ValueError, match=told):
        TableSource(str(path), ("a", "b"), weights="w").training(Takes((2,)))


def test_a_table_may_have_many_columns():
    names = [f"c{i}" for i in range(5000)]
    table = Table({name: np.ones(2) for name in names})
    started = time.process_time()
    assert table.take(table.names).shape == table.complete(names).take(names).shape == (2, 5000)
    assert time.process_time() - started < 1  # 3 s where each column is looked up in a new dictionary of all


@pytest.mark.parametrize("packed", [(gzip, gzip), (gzip, bz2), (lzma, gzip, lzma)])
def test_a_table_may_be_compressed_twice(packed, tmp_path):
    data = b"a,b\n1,2\n3,4\n"
    for module in packed:
        data = module.compress(data)
    (tmp_path / "t.csv.gz").write_bytes(data)
    assert read_table(tmp_path / "t.csv.gz").columns["b"].tolist() == [2, 4]


@pytest.mark.parametrize(
    "written", [b"{", b"[]", b'{"index_columns": null}', b'{"index_columns": [{"kind": "range"}, 3]}']
)
def test_metadata_of_another_kind_are_passed_over(written, tmp_path):
    arrow, parquet = (
        pytest.importorskip(name, reason="pyarrow is not installed") for name in ("pyarrow", "pyarrow.parquet")
    )
    table = arrow.table({"a": [1, 2]}).replace_schema_metadata({b"pandas": written, b"huggingface": written})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").names == ("a",)


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
    told = capsys.readouterr().out
    assert re.search(r"held-out log p: -[0-9.]+ ± [0-9.]+ nats \(mean ± s.e. over 30 events\)", told)
    assert "calibration" not in told, "of rows with weights there is none"
    with pytest.raises(SystemExit, match="a table is written as .csv, .tsv, .parquet or .npz; got grid.png"):
        command(monkeypatch, "sample", run, "--out", "grid.png")
    with pytest.raises(SystemExit, match="--features is for images"):
        command(monkeypatch, "evaluate", run, "--features", "efficientnet-lite0")
    for words in ("classify", "edit", "denoise", "denoise --sigma 0.1", "inpaint", "interpolate"):
        with pytest.raises(SystemExit, match=r"learned .*table.csv, which holds no images.* sample, score, evaluate"):
            command(monkeypatch, *words.split(), run)


def small(folder: Path, *, context: tuple[str, ...] = ("mass", "angle"), **options) -> Path:
    """A small run on a table."""
    make = partial(pf.models.MAF, hidden=(8,), transforms=1)
    pf.train(pf.recipes.table(in_csv(folder), context=context, model=make, steps=3, **options), folder / "run")
    return folder / "run"


def test_rows_of_a_file_are_scored(tmp_path, monkeypatch, capsys):
    run, out = small(tmp_path), tmp_path / "scores.npz"
    (tmp_path / "new.csv").write_text("weight,angle,energy,mass,other\n1,-200,3,0,x\n2,-150,4,0.5,y\n,-150,4,0.5,y\n")
    with pytest.raises(
        SystemExit, match=r"column 'weight' has no value at line 4\. Leave such rows out by --missing drop"
    ):
        command(monkeypatch, "score", run, "--data", tmp_path / "new.csv", "--out", out)
    command(monkeypatch, "score", run, "--data", tmp_path / "new.csv", "--out", out, "--missing", "drop")
    found, flow = read_table(out), pf.load(run)
    assert list(found.columns) == ["mass", "angle", "energy", "weight", "log_prob"]
    with torch.no_grad():
        log_p = flow.log_prob(torch.tensor([[3.0, 1], [4, 2]]), torch.tensor([[0.0, -200], [0.5, -150]]))
    np.testing.assert_allclose(found.columns["log_prob"], log_p.double().numpy(), rtol=1e-5)
    assert f"2 rows in {out}: mean log p {log_p.mean():.3f} nats" in capsys.readouterr().out
    assert (flow.columns, flow.context_columns) == (("energy", "weight"), ("mass", "angle"))
    assert pf.runs.score(run, out=tmp_path / "own.csv").startswith("300 rows in ")


def test_rows_outside_of_the_supports_have_no_density(tmp_path):
    places = {"weight": pf.transforms.Interval(0), "mass": pf.transforms.Integers(-99, 99)}
    rows = [",".join(NAMES), *(f"{e},{a},{round(m)},{w}" for e, a, m, w in VALUES)]
    in_csv(tmp_path, "\n".join(rows))
    made = pf.recipes.table(tmp_path / "table.csv", supports=places, model="maf", steps=1)
    pf.train(replace(made, model=replace(made.model, hidden=(8,))), tmp_path / "run")
    (tmp_path / "new.csv").write_text("energy,angle,mass,weight\n3,-200,0,1\n3,-200,0,-1\n3,-200,100,1\n3,-200,-99,1\n")
    told = pf.runs.score(tmp_path / "run", str(tmp_path / "new.csv"), tmp_path / "out.csv", samples=3)
    assert told.endswith("; 2 are outside of the supports, or overflowed")
    scores = read_table(tmp_path / "out.csv").columns["log_prob"]
    assert np.isfinite(scores).tolist() == [True, False, False, True]
    (tmp_path / "new.csv").write_text("energy,angle,mass,weight\n3,-200,0,1\n3,-200,0.5,1\n")
    with pytest.raises(ValueError, match=r"column 'mass' is of integers, and is 0.5 at line 3"):
        pf.runs.score(tmp_path / "run", str(tmp_path / "new.csv"), tmp_path / "out.csv")


def test_a_run_on_a_table_is_evaluated_and_drawn(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    run = small(tmp_path)
    command(monkeypatch, "evaluate", run)
    told = capsys.readouterr().out
    assert re.search(r"calibration: regions of 50%.* of 30 events; .*; energy p = [0-9.e-]+, weight p = ", told)
    assert "energy p = " in (run / "README.md").read_text()
    command(monkeypatch, "evaluate", run, "--data", in_csv(tmp_path))
    assert re.search(r"held-out log p, .*table.csv: .* over 300 events", capsys.readouterr().out)
    command(monkeypatch, "plot", run, "--n", 50)
    assert {path.name for path in run.glob("*.png")} == {"loss.png", "corner.png"}


def test_data_that_are_read_are_not_written_over(tmp_path):
    """Those that the run learned, and those that a command is given."""
    run, new, learned = small(tmp_path), tmp_path / "new.csv", tmp_path / "table.csv"
    new.write_text("mass,angle,energy,weight\n1,2,3,4\n")
    before = learned.read_text(), new.read_text()
    for write in (
        lambda: pf.sample(run, out=learned, n=2, given=("mass=1", "angle=2")),
        lambda: pf.sample(run, out=new, n=2, given=(str(new),)),
        lambda: pf.runs.score(run, out=learned),
        lambda: pf.runs.score(run, str(new), new),
    ):
        with pytest.raises(ValueError, match=r"csv holds data that are read, and would be written over"):
            write()
    assert (learned.read_text(), new.read_text()) == before


@pytest.mark.parametrize(("share", "learned", "held_out"), [("0.25", 225, 75), ("others", 300, 40)])
def test_rows_are_held_out_by_a_share_or_in_another_table(tmp_path, share, learned, held_out):
    path, told = in_csv(tmp_path), {}
    others = in_csv(tmp_path / "others", "\n".join([",".join(NAMES), *["1,2,3,4"] * 39, "5,6,7,8"]))
    words = ["--data", path, "--out", "run", "--held-out", others if share == "others" else share, "--minutes", "2"]
    train_on_table([*map(str, words)], lambda recipe, *_, **options: told.update(options, recipe=recipe))
    rows = told["recipe"].training_data(), told["recipe"].held_out_data()
    assert (*map(len, rows), told["minutes"]) == (learned, held_out, 2)
    with pytest.raises(ValueError, match="held-out rows, of .*table.csv, are those that are learned. Give"):
        pf.recipes.table(path, validation=str(path)).held_out_data()


def test_held_out_rows_are_those_of_the_training(tmp_path):
    """In a file of other rows they are others, and the training may have seen them."""
    run = small(tmp_path)
    names, *rows = (tmp_path / "table.csv").read_text().splitlines()
    in_csv(tmp_path, "\n".join([names, *reversed(rows)]))
    with pytest.raises(ValueError, match=r"are not those that .*run was begun with: there are other values in its"):
        pf.evaluate(run)
    in_csv(tmp_path, "\n".join([names, *rows, *rows[:10]]))
    with pytest.raises(ValueError, match=r"there are 279 rows in place of 270. Restore them"):
        pf.evaluate(run)
    assert pf.evaluate(run, data=str(tmp_path / "table.csv"))


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        (lambda path: pf.recipes.table(path, model="mafff"), ValueError, "no model 'mafff' of tables; did you mean"),
        (lambda path: pf.recipes.table(path, model=pf.models.MAF(features=4)), TypeError, "takes a class of"),
        (lambda path: pf.recipes.table(path, stepz=3), TypeError, "no option 'stepz': it is called steps"),
        (lambda _: pf.recipes.table(np.zeros((30, 2))), TypeError, "a table in a file; got a ndarray.*pf.fit"),
    ],
)
def test_a_recipe_of_a_table_says_what_it_takes(asked, error, told, tmp_path):
    with pytest.raises(error, match=told):
        asked(in_csv(tmp_path))


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
    command(monkeypatch, "sample", run, "--given", "angle=-200", "mass=0", "--n", 4, "--out", out)
    assert out.read_text().splitlines()[0] == "energy,weight"
    assert len(out.read_text().splitlines()) == 5
    rows = tmp_path / "rows.csv"
    rows.write_text("angle,note,mass\n-200,a,0\n-100,b,1\n")
    command(monkeypatch, "sample", run, "--given", rows, "--n", 3, "--out", out)
    found = read_table(out)
    assert list(found.columns) == ["mass", "angle", "energy", "weight"]
    assert found.columns["angle"].tolist() == [-200, -200, -200, -100, -100, -100]
    rows.write_text("angle,mass\n-200,\n")
    for given, message in (
        (
            [],
            "is conditioned on mass, angle: give --given mass=VALUE angle=VALUE, or a file .*; mass, angle are missing",
        ),
        (["mass=0"], "angle is missing"),
        (["mass=0", "mass=1"], "once for each; got 'mass=1'"),
        (["mass=0", "angle=3", "energy=2"], "conditioned on mass, angle: .* got 'energy=2'"),
        (["mass=0", "angle=x"], "'angle=x' gives no finite number"),
        (["mass=0", "angle=nan"], "'angle=nan' gives no finite number"),
        (["gone.csv"], "there is no file gone.csv"),
        ([str(rows)], "column 'mass' has no value at line 2"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            pf.sample(run, out, given=tuple(given))
    with pytest.raises(ValueError, match="is conditioned on nothing: leave out --given"):
        pf.sample(small(tmp_path / "plain", context=()), out, given=(str(rows),))


def test_the_options_of_tables_are_shown_and_do_what_they_say(tmp_path, monkeypatch, capsys):
    path, made = in_csv(tmp_path), []
    monkeypatch.setattr(pf.runs, "train", lambda recipe, *_, **__: made.append(recipe))
    for words in (["train", "--help"], ["train"]):
        command(monkeypatch, *words)
        told = capsys.readouterr().out
        assert all(
            f"--{word} " in told for word in ("columns", "drop", "context", "supports", "missing", "lr", "batch")
        )
        assert "autoregressive-nsf" in told
    words = ["train", "--data", path, "--out", tmp_path / "run"]
    command(monkeypatch, *words, "--columns", "energy", "mass", "--lr", 0.01, "--batch", 7, "--steps", 3, "--seed", 5)
    first = made.pop()
    assert first.data.columns == ("energy", "mass")
    assert (first.train.lr, first.train.batch, first.train.steps, first.train.seed) == (0.01, 7, 3, 5)
    assert first.model == pf.models.NSF(features=2, autoregressive=True)
    command(monkeypatch, *words, "--drop", "weight", "--model", "nsf", "--model.transforms", 2, "--model.hidden", 8, 8)
    assert made.pop().model == pf.models.NSF(features=3, transforms=2, hidden=(8, 8))
    command(monkeypatch, *words, "--drop", "weight", "--model=glow", "--model.coupling", "additive")
    assert made.pop().model == pf.models.Glow(features=3, coupling="additive")
    for more, message in (
        (["--drop", "weigth"], "there is no column 'weigth'; there are energy, angle, mass, weight"),
        (["--columns", "weight", "--weights", "weight"], "column 'weight' cannot be learned and also be context"),
        (["--drop", *NAMES], "no column of .* is left to learn"),
        (["--model", "nfs"], "there is no model 'nfs' of tables; did you mean 'nsf'"),
        (["--lr", "0"], "lr is a finite number above 0"),
        (["--batch", "0"], "batch is a finite number of at least 1"),
    ):
        with pytest.raises(SystemExit, match=message):
            command(monkeypatch, *words, *more)
    with pytest.raises(SystemExit, match=r"is no recipe. For a table: pushforward train --data .*table.csv --out DIR"):
        command(monkeypatch, "train", path, "--out", tmp_path / "run")


def test_an_index_is_left_out_with_a_word(tmp_path, monkeypatch, capsys):
    lines = ["," + ",".join(NAMES), *(f"{i}," + ",".join(map(str, row)) for i, row in enumerate(VALUES))]
    words = ["train", "--data", in_csv(tmp_path, "\n".join(lines)), "--model", "maf", "--steps", 1]
    command(monkeypatch, *words, "--out", tmp_path / "run")
    assert "left out as an index: ''" in capsys.readouterr().err
    assert pf.runs.read_recipe(tmp_path / "run").data.columns == tuple(NAMES)


def test_a_fit_goes_on_for_more_steps_though_its_warmup_follows_them(tmp_path):
    for steps in (20, 40):
        made = pf.recipes.table(in_npz(tmp_path), model="maf", steps=steps)
        pf.train(made, tmp_path / "run")
    assert made.train.warmup == 4
    assert pf.runs.folder.read_recipe(tmp_path / "run") == made


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".npy"])
def test_integers_that_float64_rounds_are_told_by_column(tmp_path, suffix):
    columns, path = {"a": np.array([1, 2]), "b": np.array([7, -(2**53) - 1])}, tmp_path / f"table{suffix}"
    if suffix == ".npy":
        np.save(path, np.stack([*columns.values()], -1))
    else:
        write_table(columns, path)
    with pytest.raises(ValueError, match="column '(b|x1)' holds .* beyond 2.*, which float64 rounds.*--drop"):
        read_table(path).check(read_table(path).names)


def test_other_tables_that_cannot_be_used(tmp_path):
    (tmp_path / "torn.npy").write_bytes(b"torn")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    (tmp_path / "great.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header)
    np.save(tmp_path / "cube.npy", np.zeros((2, 3, 2)))
    np.save(tmp_path / "none.npy", np.zeros((0, 3)))
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    (tmp_path / "a.npy").rename(tmp_path / "array.npz")
    with zipfile.ZipFile(tmp_path / "archive.npz", "w") as archive:
        archive.writestr("readme.txt", "text")
    np.savez(tmp_path / "twice.npz", x=np.zeros((3, 2)), x0=np.zeros(3))
    np.savez(tmp_path / "words.npz", word=np.array(["a", "b"]))
    np.savez(tmp_path / "uneven.npz", a=np.ones(2), b=np.ones(3))
    (tmp_path / "table.xls").touch()
    (tmp_path / "folder.csv").mkdir()
    for name, message in (
        ("torn.npy", "this is not a complete npy file"),
        ("great.npy", "this is not a complete npy file"),
        ("cube.npy", r"columns have one length, at least 1; these have {'x': \(2, 3, 2\)}"),
        ("none.npy", r"columns have one length, at least 1; these have .*\(0,\)"),
        ("array.npz", r"array\.npz: not a complete \.npz file"),
        ("archive.npz", "it holds readme.txt, which is no array"),
        ("twice.npz", "columns 1, 3 are all named 'x0'"),
        ("words.npz", "column 'word' holds <U1, and a flow takes numbers"),
        ("uneven.npz", r"columns have one length, at least 1; these have .*\(2,\).*\(3,\)"),
        ("table.xls", r"ends in '.xls'; a table is a file that ends in .csv, .*\.npz"),
        ("folder.csv", "a table is a file"),
    ):
        with pytest.raises(ValueError, match=message):
            pf.recipes.table(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="there is no column 'colour'; there are energy, angle, mass, weight"):
        pf.recipes.table(in_npz(tmp_path), weights="colour")
    with pytest.raises(ValueError, match="no column of .* is left to learn"):
        pf.recipes.table(in_npz(tmp_path), context=NAMES)


def test_a_table_may_be_in_any_units(tmp_path):
    """Seconds since 1980 and large integers, given seconds: samples have their digits."""
    part = np.random.default_rng(0).random(200)
    columns = {"time": 1126259462 + 0.2 * part, "count": np.floor(20_000_001 + 9 * part), "given": 1126259462 + part}
    np.savez(tmp_path / "t.npz", **columns)
    supports = {"count": pf.transforms.Integers(0)}
    made = pf.recipes.table(tmp_path / "t.npz", context=("given",), supports=supports, model="maf", steps=5)
    pf.train(made, tmp_path / "run")
    pf.sample(tmp_path / "run", tmp_path / "s.csv", 50, given=("given=1126259462.5",))
    found = read_table(tmp_path / "s.csv").columns
    assert len(np.unique(found["time"])) == 50
    assert 5 < len(np.unique(found["count"])) < 40
    assert np.abs(found["time"] - 1126259462.1).max() < 0.5

"""Parts of `make gpu` run on a CPU in miniature, so that a GPU finds no error of ours."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import attention, training
from benchmarks.gpu.part import Machine, OverrunError, Part, limited, run
from tests.gpu import GPU, pretended

PARTS = {**training.PARTS, "training_attention": attention.PARTS["training_attention"]}
RATES = {torch.float32: 1e11, torch.bfloat16: 1e11}
CPU = Machine(torch.device("cpu"), "CPU", RATES, 1e10, small=True)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_yields_its_rows(name):
    rows = list(PARTS[name].rows(CPU, 4.0))
    assert rows
    assert {row.count("|") for row in rows} == {PARTS[name].columns.count("|")}
    assert not [row for row in rows if row.startswith("FAILED")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # peers warn of what torch deprecates
@pytest.mark.parametrize("name", command.parts())
def test_every_part_runs_on_a_gpu_that_is_not_there(name, monkeypatch):
    part, machine = command.parts()[name], Machine(GPU, "none", RATES, 1e10, small=True)
    with pretended(monkeypatch):
        report = run(name, part, machine, 60)
    assert report.ended in ("", "stopped after 60 s")
    assert {row.count("|") for row in report.rows} == {part.columns.count("|")}
    assert all("there is no GPU" in row for row in report.rows if row.startswith("FAILED"))


def fails(*_) -> Iterator[str]:
    yield "one"
    raise RuntimeError("the first line\nthe second")


def overruns(*_) -> Iterator[str]:
    try:
        yield "two"
        time.sleep(10)
    except Exception:  # as laws take failures
        yield "three"


def test_the_page_has_what_was_found_whatever_happened_later(monkeypatch, tmp_path, capsys):
    made = {name: Part(name, "row", 0.2, rows) for name, rows in {"fails": fails, "overruns": overruns}.items()}
    made["lost"] = made["after"] = Part("one more", "row", 0.2, lambda *_: iter(["four"]))
    page, started = tmp_path / "page.md", []
    monkeypatch.setattr(command, "parts", lambda: made)
    monkeypatch.setattr(command, "this_machine", lambda *_, **__: CPU)
    monkeypatch.setattr(command, "lost", lambda _: "one more" in page.read_text() and not started)
    monkeypatch.setattr(command.os, "execv", lambda _, arguments: started.extend(arguments))
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--small", "--out", str(page)])
    assert command.main() == 1
    again = ["--on", "--device", "cpu", "--out", str(page), "--small", "--part", "after"]
    assert started[1:] == ["-m", "benchmarks.gpu", *again]
    text = page.read_text()
    assert [row for row in ("one", "two", "three", "four") if f"| {row} |" in text] == ["one", "two", "four"]
    assert "**RuntimeError: the first line**" in text
    assert "**stopped after 0 s**" in text
    assert "failed: fails, overruns" in capsys.readouterr().out


def test_an_import_is_brought_to_its_end(tmp_path, monkeypatch):
    (tmp_path / "takes_long.py").write_text(
        "import time\nfor _ in range(10): time.sleep(0.01)\nwhole = True\ndef then(): time.sleep(10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OverrunError), limited(0.05):
        importlib.import_module("takes_long").then()
    found = sys.modules.pop("takes_long")
    assert isinstance(found, ModuleType)
    assert found.whole

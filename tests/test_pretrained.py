"""The weights that come with the package, and "pretrained:NAME" in place of a run."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import load_file

import pushforward as pf
from pushforward.cli.main import main
from pushforward.evaluation import held_out_mean
from pushforward.runs.data import recipe_of
from pushforward.runs.folder import SHIPPED, load_coded

NAMES = sorted(folder.name for folder in SHIPPED.iterdir())


def test_the_weights_are_small_and_in_bfloat16():
    assert NAMES == ["digits", "emoji", "fashion", "moons", "pinwheel"]
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*")) < 10e6
    for name in NAMES:
        weights = load_file(SHIPPED / name / "model.safetensors")
        assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.bfloat16}
        assert pf.pretrained(name).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_is_measured(name):
    coded = load_coded(f"pretrained:{name}")
    found = held_out_mean(coded, recipe_of(f"pretrained:{name}").held_out_data())
    card = (SHIPPED / name / "README.md").read_text()
    stated = float(card.split("| held out | ")[1].split()[0])
    assert found.mean == pytest.approx(stated, abs=2e-4)
    assert "rounding costs " in card


@pytest.mark.parametrize(
    "words",
    [
        "sample pretrained:digits --n 4",
        "evaluate pretrained:digits",
        "denoise pretrained:digits --n 2",
        "classify pretrained:digits",
        "check pretrained:digits --n 2",
        "edit pretrained:digits --label 3 --n 1",
        "interpolate pretrained:digits --pairs 1 --n 3",
        "inpaint pretrained:digits --n 1 --fills 1 --steps 2",
        "sample pretrained:moons --n 4",
        "score pretrained:moons",
        "evaluate pretrained:moons",
        "check pretrained:moons --n 2",
        "sample pretrained:pinwheel --n 4",
        "edit pretrained:fashion --label 3 --n 1",
        "sample pretrained:emoji --n 4",
    ],
)
def test_commands_take_them_and_change_nothing(words, monkeypatch, tmp_path):
    before = {file: file.read_bytes() for file in SHIPPED.rglob("*") if file.is_file()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pushforward", *words.split()])
    main()
    assert {file: file.read_bytes() for file in SHIPPED.rglob("*") if file.is_file()} == before


def test_what_they_cannot_do_is_said(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="are digits, emoji, fashion, moons, pinwheel; got 'faces'"):
        pf.pretrained("faces")
    monkeypatch.setattr(sys, "argv", ["pushforward", "plot", "pretrained:moons"])
    with pytest.raises(SystemExit, match="no log of its training"):
        main()
    assert not [*tmp_path.iterdir()]

"""Runs that older versions left can be loaded and gone on with, and give the densities that they gave then.

old_runs/format1.tar.gz was made by the last version of format 1: six steps of each image model in miniature on the
digits, with the checkpoint of the TarFlow, and a table with integers and a context; log_probs.json holds what its flows
gave for three events.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import pushforward as pf
from pushforward.codecs import Coarse, GaussianNoise
from pushforward.migrations import migrated, renamed
from pushforward.models import Dequantiser
from pushforward.named import name_of, named
from pushforward.recipes import RECIPES
from pushforward.training import Log

IMAGES = torch.linspace(-0.9, 0.9, 3 * 64).reshape(64, 3).T.reshape(3, 1, 8, 8)
ROWS = torch.tensor([[3.0, 1.0, 2.5], [2.0, 0.1, 0.5], [4.0, 3.0, 4.5]])
ANGLES = torch.tensor([[-200.0], [-100.0], [-250.0]])


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).parent / "old_runs" / "format1.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("name", ["tarflow", "realnvp", "glow", "flowpp", "jet", "table"])
def test_an_old_run_gives_the_densities_that_it_gave_then(old, name):
    flow, expected = pf.load(old / name), json.loads((old / "log_probs.json").read_text())[name]
    x, context = (ROWS, ANGLES) if name == "table" else (IMAGES, torch.tensor([0, 3, -1]) if flow.classes else None)
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(x, context), torch.tensor(expected), rtol=1e-5, atol=1e-3)


def test_an_old_recipe_is_read_in_today_s_words(old):
    recipe, small = pf.runs.read_recipe(old / "tarflow"), RECIPES["digits"]().small()
    assert recipe == replace(small, train=replace(small.train, checkpoint_every=6))
    table = pf.runs.read_recipe(old / "table")
    assert table.data == pf.data.TableSource("table.csv", ("energy", "mass", "jets"), ("angle",))
    assert table.codec == pf.codecs.ColumnDequantization((2,))
    assert pf.runs.read_recipe(old / "jet").data.mirrored


def test_an_old_coarse_codec_is_read():
    lift = {"kind": "Coarse", "levels": 256, "lift": {"kind": "Gaussian", "levels": 32, "sigma": 0.1}}
    recipe, form = migrated({"kind": "Recipe", "data": "digits", "lift": lift, "model": {"steps": 2}}, 1)
    assert (form, recipe["model"]) == (4, {"transforms": 2})
    assert pf.recipe.revived(recipe["codec"]) == Coarse(GaussianNoise(32, 0.1))


def test_an_old_spline_flow_has_no_regression():
    old = {"model": {"kind": "NSF", "features": 2, "context": 3}}
    model = pf.recipe.revived(migrated(old, 3)[0]["model"])
    assert model == pf.models.NSF(features=2, context=3, regression=False)


def test_an_old_checkpoint_is_gone_on_with(old):
    run = old / "tarflow"
    recipe = pf.runs.read_recipe(run)
    longer = replace(recipe, train=replace(recipe.train, steps=8, log_every=1))
    before = pf.load(run).state_dict()
    with pytest.warns(UserWarning, match="drew other noise from the same seed"):
        pf.train(longer, run, device="cpu")
    assert [line["step"] for line in Log(run).read()] == [6, 7, 8]
    after = pf.load(run).state_dict()
    assert all((after[name] - before[name]).abs().max() < 0.05 for name in before), "it began at the old weights"
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_weights_without_a_checkpoint_are_not_overwritten(old):
    with pytest.raises(ValueError, match="holds weights and no checkpoint to continue from"):
        pf.train(pf.runs.read_recipe(old / "glow"), old / "glow", device="cpu")


def test_the_weights_of_a_codec_are_found_under_their_old_name(tmp_path):
    """Names are put back to what they were, since such weights are too large to keep."""
    small = RECIPES["digits"]().small()
    codec = Dequantiser(image=small.model.image, levels=17).small()
    recipe = replace(small, codec=codec, train=replace(small.train, steps=1, checkpoint_every=1))
    pf.train(recipe, tmp_path, device="cpu")
    today = load_file(tmp_path / "codec.safetensors")
    old = {name.replace("initialized", "measured"): tensor for name, tensor in today.items()}
    assert old.keys() != today.keys()
    (tmp_path / "codec.safetensors").unlink()
    save_file(old, tmp_path / "lift.safetensors")
    found = pf.runs.load_coded(tmp_path).codec.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in today.items())


@pytest.mark.parametrize(
    ("name", "now"),
    [
        ("pushforward.transforms.reshape:Permuted", pf.transforms.Permuted),
        ("pushforward.conditions:Vector", pf.conditions.Vector),
    ],
)
def test_a_class_that_moved_inside_its_room_is_found(name, now):
    assert named(name) is now
    assert named(name_of(now)) is now


def test_names_that_are_known_are_never_renamed():
    assert renamed(["a.project.table", "lift.noise.measured"], {"a.project.table"}) == {
        "a.project.table": "a.project.table",
        "lift.noise.measured": "codec.noise.initialized",
    }

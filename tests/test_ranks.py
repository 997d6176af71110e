"""Processes that train together, started by torchrun, take the steps of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.training import Checkpoints, Log, ranks
from pushforward.training.checkpoint import RemovedError

ROOT = Path(__file__).parents[1]


def together(processes: int, folder: Path, *arguments: int | str) -> subprocess.CompletedProcess[str]:
    """Train with so many processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*torchrun, "-m", "tests.together", str(folder), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in Log(folder).read()]


def same_density(one: Path, other: Path) -> None:
    """Not the same weights: those whose gradient is zero but for rounding, AdamW moves by rounding's sign."""
    x, labels = torch.randn(20, 1, 8, 8), torch.arange(20) % 10
    with torch.no_grad():
        torch.testing.assert_close(*(pf.load(run).log_prob(x, labels) for run in (one, other)), atol=1e-3, rtol=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """What one process makes of six steps."""
    folder = tmp_path_factory.mktemp("alone")
    assert together(1, folder).returncode == 0
    return folder


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(alone, tmp_path):
    told = together(2, tmp_path)
    assert told.returncode == 0, told.stderr
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-5)
    same_density(tmp_path, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "parallel"),
    [(2, 2, "replicated"), (2, 1, "replicated"), (1, 2, "replicated"), (2, 3, "sharded"), (3, 1, "sharded")],
)
def test_a_process_that_dies_takes_all_down_and_any_number_goes_on(alone, tmp_path, before, after, parallel):
    told = together(before, tmp_path, 5, parallel)
    assert told.returncode != 0
    assert "exitcode  : -9" in told.stderr
    assert "Signal 9 (SIGKILL)" in told.stderr
    told = together(after, tmp_path, 1000, parallel)
    assert told.returncode == 0, told.stderr
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-5)
    same_density(tmp_path, alone)


@pytest.mark.slow
def test_where_the_folder_is_removed_all_stop_and_go_on(alone, tmp_path):
    told = together(2, tmp_path / "run", 4, "replicated", "removed")
    assert told.returncode != 0
    assert told.stderr.count("was removed or replaced while it was trained. It was made again") == 2
    told = together(2, tmp_path / "run")
    assert told.returncode == 0, told.stderr
    same_density(tmp_path / "run", alone)


def test_every_process_learns_that_the_first_has_lost_its_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "any_of", lambda _: True)
    with pytest.raises(RemovedError, match="was removed or replaced while it was trained"):
        Checkpoints(tmp_path).check()


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 3)
    with pytest.raises(ValueError, match="3 processes cannot share 128 rows equally"):
        ranks.share(128)

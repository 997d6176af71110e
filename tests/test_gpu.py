"""Parts of `make gpu` that train run on a CPU in miniature, so that a GPU finds no error of ours."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu import attention, training
from benchmarks.gpu.part import Machine

PARTS = {**training.PARTS, "training_attention": attention.PARTS["training_attention"]}

CPU = Machine(torch.device("cpu"), "CPU", {torch.float32: 1e11, torch.bfloat16: 1e11}, 1e10, small=True)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_yields_its_rows(name):
    rows = list(PARTS[name].rows(CPU, 4.0))
    assert rows
    assert {row.count("|") for row in rows} == {PARTS[name].columns.count("|")}
    assert not [row for row in rows if row.startswith("FAILED")]

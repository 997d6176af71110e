"""Model FLOPs of a step, also of models that no machine here could train, and the utilisation of the device."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import pushforward as pf
from benchmarks.scale import LAYOUTS, MODELS, counted
from pushforward.data import Arrays
from pushforward.objectives import Likelihood
from pushforward.training import Log, Plan
from pushforward.training.utilisation import Utilisation, matrix_rate, operations_of, operations_of_step
from tests.test_run import twin

FLOAT, BRAIN = torch.float32, torch.bfloat16
CPU = torch.device("cpu")


def formula(depth: int, width: int, features: int, tokens: int) -> int:
    """A row's operations, forward and back, of a TarFlow of two transforms: six for each weight of a product and token,
    and causal attention, whose gradients take two and a half of it."""
    read = tokens - 1  # the last token is not
    weights = depth * 12 * width**2 + features * width + width * 2 * features
    attention = 2 * read**2 * width
    both = 2 * (6 * read * weights + int(depth * 3.5 * attention))
    return both - 2 * read * features * width  # the data need no gradient


def test_operations_are_those_of_the_formula():
    found = counted(pf.models.TarFlow(image=(1, 8, 8), transforms=2, width=64, depth=3))
    assert found.operations == formula(depth=3, width=64, features=4, tokens=16)


def test_every_layout_shares_its_batch():
    assert all(of.model in MODELS and of.rows * of.gpus * of.plan.accumulate == of.plan.batch for of in LAYOUTS)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", FLOAT), ("bfloat16", BRAIN)])
def test_the_operations_of_a_tarflow_are_those_of_the_formula(precision, dtype):
    objective = Likelihood(pf.models.TarFlow(image=(1, 8, 8), patch=2, transforms=2, width=64, depth=3).build())
    data, plan = Arrays(torch.randn(6, 1, 8, 8)), Plan(steps=1, batch=5, precision=precision, recomputed=True)
    before = {name: t.clone() for name, t in objective.state_dict().items()}
    found = operations_of_step(objective, data, plan)
    assert found == {dtype: 5 * formula(depth=3, width=64, features=4, tokens=16)}
    torch.testing.assert_close(dict(objective.state_dict()), before, rtol=0, atol=0)
    assert all(p.grad is None for p in objective.parameters())


@pytest.mark.parametrize(("key_heads", "causal"), [(6, False), (6, True), (2, True)])
def test_causal_attention_counts_half_of_its_square(key_heads, causal):
    q, (k, v) = torch.randn(2, 6, 16, 8, requires_grad=True), torch.randn(2, 2, key_heads, 16, 8)

    def task() -> None:
        F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=key_heads < 6).sum().backward()

    whole = 7 * 2 * (2 * 6 * 16 * 16 * 8)
    assert operations_of(task) == {FLOAT: whole // 2 if causal else whole}


def test_utilisation_is_since_the_line_before_and_refused_for_several_precisions():
    told = Utilisation(Counter({FLOAT: 10**12}), CPU)
    assert told(10, 100.0) == {}, "the first steps are not like the others"
    rate = matrix_rate(CPU, FLOAT, False)
    assert told(30, 104.0) == {"TFLOP/s": 5.0, "MFU": pytest.approx(5e12 / rate, rel=1e-3)}
    mixed = Utilisation(Counter({FLOAT: 10**12, BRAIN: 10**12}), CPU)
    assert mixed(10, 100.0) == {"no MFU": "operations are in float32, bfloat16"}
    assert mixed(30, 104.0) == {"TFLOP/s": 10.0}
    hardly = Utilisation(Counter({FLOAT: 10**9, BRAIN: 10**12}), CPU)
    assert hardly(10, 100.0) == {}
    assert hardly(30, 104.0).keys() == {"TFLOP/s", "MFU"}
    none = Utilisation(Counter(), CPU)
    assert none(10, 1.0) == none(20, 2.0) == {}


def test_the_log_of_a_run_has_it(tmp_path):
    recipe = twin()
    pf.train(replace(recipe, train=replace(recipe.train, log_every=2, precision="float32")), tmp_path)
    first, *others = Log(tmp_path).read()
    assert "MFU" not in first
    assert others
    assert all(line["TFLOP/s"] > 0 and 0 < line["MFU"] < 2 for line in others)

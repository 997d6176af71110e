"""What is counted of models that no machine here could train."""

from __future__ import annotations

from benchmarks.scale import LAYOUTS, MODELS, counted
from pushforward.models import TarFlow


def test_operations_are_those_of_the_formula():
    """Six for each weight of a product and token, and causal attention, whose gradients take two and a half of it."""
    depth, width, features, tokens = 3, 64, 4, 15  # the last of 16 tokens is not read
    weights = depth * 12 * width**2 + features * width + width * 2 * features
    attention = 2 * tokens**2 * width
    expected = 2 * (6 * tokens * weights + depth * 3.5 * attention)
    expected -= 2 * tokens * features * width  # the data need no gradient
    found = counted(TarFlow(image=(1, 8, 8), transforms=2, width=width, depth=depth))
    assert found.operations == expected


def test_every_layout_shares_its_batch():
    assert all(of.model in MODELS and of.rows * of.gpus * of.plan.accumulate == of.plan.batch for of in LAYOUTS)

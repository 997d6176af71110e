"""What is counted of models that no machine here could train."""

from __future__ import annotations

from benchmarks.scale import LAYOUTS, MODELS, counted
from pushforward.models import TarFlow


def formula(depth: int, width: int, features: int, tokens: int) -> int:
    """A row's operations, forward and back, of a TarFlow of two transforms: six for each weight of a product and token,
    and causal attention, whose gradients take two and a half of it."""
    read = tokens - 1  # the last token is not
    weights = depth * 12 * width**2 + features * width + width * 2 * features
    attention = 2 * read**2 * width
    both = 2 * (6 * read * weights + int(depth * 3.5 * attention))
    return both - 2 * read * features * width  # the data need no gradient


def test_operations_are_those_of_the_formula():
    found = counted(TarFlow(image=(1, 8, 8), transforms=2, width=64, depth=3))
    assert found.operations == formula(depth=3, width=64, features=4, tokens=16)


def test_every_layout_shares_its_batch():
    assert all(of.model in MODELS and of.rows * of.gpus * of.plan.accumulate == of.plan.batch for of in LAYOUTS)

"""The miniature of a recipe: everything it does, at a size that a test can train."""

from __future__ import annotations

from dataclasses import replace

from pushforward.models import TarFlow
from pushforward.recipe import Recipe


def small(recipe: Recipe) -> Recipe:
    """The recipe's twin of a few steps: a narrow flow of as many patches as fit into 8 × 8 pixels."""
    model = recipe.model
    assert isinstance(model, TarFlow)
    twin = replace(model, image=(model.image[0], 4 * model.patch, 4 * model.patch), steps=2, width=16, depth=1)
    plan = replace(recipe.train, steps=6, batch=8, warmup=2, lr=5e-3, checkpoint_every=3, measure_every=0)
    return replace(recipe, model=twin, train=plan)

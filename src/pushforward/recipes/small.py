"""The miniature of a recipe: everything it does, at a size that a test can train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pushforward.models import Dequantiser, ImageFlowPlusPlus, ImageGlow, ImageRealNVP, Jet, TarFlow
from pushforward.recipe import Recipe

SIZES: dict[type, dict[str, Any]] = {
    TarFlow: {"steps": 2, "width": 16, "depth": 1},
    ImageRealNVP: {"levels": 2, "width": 8, "blocks": 1},
    ImageGlow: {"levels": 2, "steps": 2, "width": 16},
    ImageFlowPlusPlus: {"width": 8, "blocks": 1, "components": 2},
    Jet: {"steps": 5, "width": 16, "depth": 1, "heads": 1},
}


def small(recipe: Recipe) -> Recipe:
    """The recipe's twin of a few steps: a narrow flow of images of 8 × 8 pixels, or of 4 × 4 patches."""
    model: Any = recipe.model
    side = 4 * getattr(model, "patch", 2)
    image = (model.image[0], side, side)
    codec = recipe.codec
    if isinstance(codec, Dequantiser):
        codec = replace(codec, image=image, width=8, blocks=1, components=2)
    plan = replace(recipe.train, steps=6, batch=8, warmup=2, lr=5e-3, checkpoint_every=3, measure_every=0)
    return replace(recipe, model=replace(model, image=image, **SIZES[type(model)]), codec=codec, train=plan)

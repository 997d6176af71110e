"""Recipes of clips."""

from __future__ import annotations

from pushforward.codecs import GaussianNoise
from pushforward.data import ClipSource, Sprites
from pushforward.models import STARFlowV
from pushforward.recipe import Recipe
from pushforward.training import MaximumLikelihood, Plan


def sprites() -> Recipe:
    """Animated characters from captions, 8 frames of 16 × 16 pixels: a small STARFlow-V of noisy pixels.

    PUSHFORWARD_DATA=DIR pushforward train sprites --out runs/sprites
    pushforward sample runs/sprites --n 4 --prompt "walking left, blue robe" --frames 24 --out walk.gif
    Expect no result yet: it has not been run to its end.
    """
    return Recipe(
        data=Sprites(),
        model=STARFlowV(image=(3, 16, 16), patch=4, width=128, depths=(1, 1, 4), text=(8, 384), extent=4),
        codec=GaussianNoise(levels=256, sigma=0.1),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=4500, batch=16, lr=2e-3, average_decay=0.998, precision="float32", checkpoint_every=100),
    )


def vtest() -> Recipe:
    """Walking people before a fixed camera, 8 frames of 24 × 32 pixels: a small STARFlow-V of noisy pixels.

    PUSHFORWARD_DATA=DIR pushforward train vtest --out runs/vtest
    pushforward sample runs/vtest --n 1 --first-frame start.png --frames 64 --out people.gif
    The last fifth of the 795 frames is held out. Expect no result yet: it has not been run.
    """
    return Recipe(
        data=ClipSource("video_vtest_96x128", frames=8),
        model=STARFlowV(image=(3, 24, 32), patch=4, width=128, depths=(1, 1, 4), extent=8),
        codec=GaussianNoise(levels=256, sigma=0.05),
        train=Plan(steps=2000, batch=4, lr=1.5e-3, average_decay=0.998, precision="float32", checkpoint_every=100),
    )

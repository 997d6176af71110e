"""Whether a run has learned its null label: the density without the class, which guidance and editing need."""

from __future__ import annotations

from os import PathLike

from pushforward.recipe import Recipe
from pushforward.sampling import Sampling


def knows_null(recipe: Recipe) -> bool:
    """Whether labels were dropped in training. Of an objective that does not say so, it is assumed."""
    return bool(getattr(recipe.objective, "condition_dropout", True))


def check_null(run: str | PathLike[str], recipe: Recipe, what: str) -> None:
    """Raise ValueError where a run of labels never learned the density without them, which `what` needs."""
    if getattr(recipe.model, "classes", 0) and not knows_null(recipe):
        raise ValueError(
            f"{what} needs the density without the class, which {run} never learned: its "
            "objective.condition_dropout is 0. Train with --objective.condition-dropout 0.1."
        )


def check_sampling(run: str | PathLike[str], recipe: Recipe, sampling: Sampling) -> None:
    """Raise ValueError where samples need the null label and the run never learned it."""
    if sampling.label == -1:
        check_null(run, recipe, "label -1")
    if sampling.guidance:
        check_null(run, recipe, "guidance")

"""Whether a run has learned the density without a condition, which guidance and editing need."""

from os import PathLike

import torch

from pushforward.recipe import Recipe
from pushforward.sampling import Sampling


def knows_null(recipe: Recipe, name: str) -> bool:
    """Whether this condition was dropped in training. Of an objective that does not say so, it is assumed."""
    dropped = getattr(recipe.objective, "condition_dropout", True)
    return bool(dict(dropped).get(name) if isinstance(dropped, tuple) else dropped)


def check_null(run: str | PathLike[str], recipe: Recipe, what: str, *names: str) -> None:
    """Raise ValueError where a run never learned the density without the named conditions, or, where none is named,
    without any of its own, which `what` needs."""
    with torch.device("meta"):
        conditions = recipe.model.build().conditions
    for name, kind in conditions.items():
        if name in (names or conditions) and not (kind.optional or knows_null(recipe, name)):
            raise ValueError(
                f"{what} needs the density without the condition {name!r}, which {run} never learned: its "
                "objective.condition_dropout is 0 for it. Train with --objective.condition-dropout 0.1."
            )


def check_sampling(run: str | PathLike[str], recipe: Recipe, sampling: Sampling) -> None:
    """Raise ValueError where samples need the null of a condition and the run never learned it."""
    if sampling.label == -1:
        check_null(run, recipe, "label -1", "label")
    if sampling.guidance:
        check_null(run, recipe, "guidance")

"""Objectives: what training minimises, and how a recipe or a model names it."""

from pushforward.objectives.continuous import ContinuousLikelihood, PenalisedLikelihood
from pushforward.objectives.objective import (
    Likelihood,
    MaximumLikelihood,
    Objective,
    ObjectiveConfig,
    with_dropout,
)
from pushforward.objectives.reverse_kl import Annealing, ReverseKL

__all__ = [
    "Annealing",
    "ContinuousLikelihood",
    "Likelihood",
    "MaximumLikelihood",
    "Objective",
    "ObjectiveConfig",
    "PenalisedLikelihood",
    "ReverseKL",
    "with_dropout",
]

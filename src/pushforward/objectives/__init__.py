"""Objectives: what training minimises, and how a recipe or a model names it."""

from pushforward.objectives.alignment import InverseAlignment
from pushforward.objectives.continuous import ContinuousLikelihood, PenalisedLikelihood
from pushforward.objectives.couplings import Coupling, Independent, MinibatchOT, Reflowed, SemidiscreteOT, TrainedFlow
from pushforward.objectives.distillation import MapRegression, SelfDistillation
from pushforward.objectives.matching import Matching, VelocityRegression
from pushforward.objectives.objective import (
    Likelihood,
    MaximumLikelihood,
    Objective,
    ObjectiveConfig,
    with_dropout,
)
from pushforward.objectives.paths import General, Linear, Path, VariancePreserving
from pushforward.objectives.reverse_kl import Annealing, ReverseKL

__all__ = [
    "Annealing",
    "ContinuousLikelihood",
    "Coupling",
    "General",
    "Independent",
    "InverseAlignment",
    "Likelihood",
    "Linear",
    "MapRegression",
    "Matching",
    "MaximumLikelihood",
    "MinibatchOT",
    "Objective",
    "ObjectiveConfig",
    "Path",
    "PenalisedLikelihood",
    "Reflowed",
    "ReverseKL",
    "SelfDistillation",
    "SemidiscreteOT",
    "TrainedFlow",
    "VariancePreserving",
    "VelocityRegression",
    "with_dropout",
]

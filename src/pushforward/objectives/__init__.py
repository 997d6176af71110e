"""Objectives: what training minimises, and how a recipe or a model names it."""

from pushforward.objectives.alignment import InverseAlignment
from pushforward.objectives.continuous import ContinuousLikelihood, PenalisedLikelihood
from pushforward.objectives.couplings import Coupling, Independent, MinibatchOT, Reflowed, SemidiscreteOT, TrainedFlow
from pushforward.objectives.denoiser import DenoiserBeside, WithDenoiser
from pushforward.objectives.distillation import Distillation, MapRegression, MeanFlow, SelfDistillation
from pushforward.objectives.documents import DocumentLikelihood, DocumentStages, nats_per_token
from pushforward.objectives.latent_norm import LatentNorm, LatentNormLikelihood
from pushforward.objectives.matching import Matching, VelocityRegression
from pushforward.objectives.noise_levels import LeveledLikelihood, NoiseLevels
from pushforward.objectives.objective import (
    Likelihood,
    MaximumLikelihood,
    Objective,
    ObjectiveConfig,
    with_dropout,
)
from pushforward.objectives.paths import General, Linear, Path, VariancePreserving
from pushforward.objectives.progressive import Progressive, ProgressiveLikelihood
from pushforward.objectives.reverse_kl import Annealing, ReverseKL

__all__ = [
    "Annealing",
    "ContinuousLikelihood",
    "Coupling",
    "DenoiserBeside",
    "Distillation",
    "DocumentLikelihood",
    "DocumentStages",
    "General",
    "Independent",
    "InverseAlignment",
    "LatentNorm",
    "LatentNormLikelihood",
    "LeveledLikelihood",
    "Likelihood",
    "Linear",
    "MapRegression",
    "Matching",
    "MaximumLikelihood",
    "MeanFlow",
    "MinibatchOT",
    "NoiseLevels",
    "Objective",
    "ObjectiveConfig",
    "Path",
    "PenalisedLikelihood",
    "Progressive",
    "ProgressiveLikelihood",
    "Reflowed",
    "ReverseKL",
    "SelfDistillation",
    "SemidiscreteOT",
    "TrainedFlow",
    "VariancePreserving",
    "VelocityRegression",
    "WithDenoiser",
    "nats_per_token",
    "with_dropout",
]

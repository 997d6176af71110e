"""Pushforward: normalizing flows.

A flow is a chain of invertible transforms. A transform is **who moves** (coupling, autoregressive, continuous) ×
**how it moves** (shift, affine, spline, mixture CDF) × **which network says by how much**.
Everything here is one of those three, or assembles them.
"""

from pushforward import (
    bases,
    codecs,
    compression,
    conditions,
    data,
    editing,
    evaluation,
    hub,
    interop,
    models,
    moves,
    networks,
    objectives,
    recipes,
    runs,
    solve,
    training,
    transforms,
)
from pushforward.conditions import Condition
from pushforward.document_flow import DocumentFlow
from pushforward.fitting import Fit, fit, fit_density
from pushforward.flow import Flow
from pushforward.graphed import graphed
from pushforward.hub import pretrained
from pushforward.learned_inverse import LearnedInverse
from pushforward.recipe import Recipe
from pushforward.runs import evaluate, load, sample, save, train
from pushforward.transform import Chain, Inverse, Transform
from pushforward.version import __version__

__all__ = [
    "Chain", "Condition", "DocumentFlow", "Fit", "Flow", "Inverse", "LearnedInverse", "Recipe", "Transform",
    "__version__", "bases", "codecs", "compression", "conditions", "data", "editing", "evaluate", "evaluation", "fit",
    "fit_density", "graphed", "hub", "interop", "load", "models", "moves", "networks", "objectives", "pretrained",
    "recipes", "runs", "sample", "save", "solve", "train", "training", "transforms",
]  # fmt: skip

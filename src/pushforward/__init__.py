"""Pushforward: normalizing flows.

A flow is a chain of invertible transforms. A transform is **who moves** (coupling or autoregressive) ×
**how it moves** (shift, affine, spline, mixture CDF) × **which network says by how much**.
"""

from pushforward import bases, data, evaluation, interop, lift, models, moves, networks, solve, training, transforms
from pushforward.context import Context
from pushforward.flow import Flow
from pushforward.transform import Chain, Inverse, Transform

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Context",
    "Flow",
    "Inverse",
    "Transform",
    "bases",
    "data",
    "evaluation",
    "interop",
    "lift",
    "models",
    "moves",
    "networks",
    "solve",
    "training",
    "transforms",
]

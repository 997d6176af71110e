"""Who moves: invertible transforms."""

from pushforward.transforms.autoregressive import Autoregressive
from pushforward.transforms.clips import Framewise, InSequence
from pushforward.transforms.conditional import ConditionalAffine
from pushforward.transforms.continuous import Continuous, Integrated
from pushforward.transforms.coupling import (
    Coupling,
    Masked,
    Split,
    alternating,
    checkerboard,
    halves,
    scattered,
    whole_tokens,
    within_tokens,
)
from pushforward.transforms.gridded import Gridded
from pushforward.transforms.linear import LU, Linear, Matrix, Rotation, rotation
from pushforward.transforms.multiscale import MultiScale
from pushforward.transforms.normalise import ActNorm, BatchNorm
from pushforward.transforms.permutation import Permutation, Permuted, shuffled
from pushforward.transforms.regression import Regression
from pushforward.transforms.reshape import (
    Flip,
    Patchify,
    Rearrangement,
    Regroup,
    Squeeze,
    Unpatchify,
    columns,
    numbered,
    rearranges,
)
from pushforward.transforms.residual import Exact, Residual, Roulette
from pushforward.transforms.reversible import Reversible, reversible
from pushforward.transforms.supports import Circle, Integers, Interval, ProductSupport, Support, Unconstrain

__all__ = [
    "LU", "ActNorm", "Autoregressive", "BatchNorm", "Circle", "ConditionalAffine", "Continuous", "Coupling", "Exact",
    "Flip", "Framewise", "Gridded", "InSequence", "Integers", "Integrated", "Interval", "Linear", "Masked", "Matrix",
    "MultiScale", "Patchify", "Permutation", "Permuted", "ProductSupport", "Rearrangement", "Regression", "Regroup",
    "Residual", "Reversible", "Rotation", "Roulette", "Split", "Squeeze", "Support", "Unconstrain", "Unpatchify",
    "alternating", "checkerboard", "columns", "halves", "numbered", "rearranges", "reversible", "rotation", "scattered",
    "shuffled", "whole_tokens", "within_tokens",
]  # fmt: skip

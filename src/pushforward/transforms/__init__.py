"""Who moves: the invertible transforms."""

from pushforward.transforms.autoregressive import Autoregressive
from pushforward.transforms.conditional import Conditional
from pushforward.transforms.coupling import (
    Coupling,
    Split,
    alternating,
    checkerboard,
    halves,
    scattered,
    whole_tokens,
    within_tokens,
)
from pushforward.transforms.linear import LU, Matrix, Rotation, rotation
from pushforward.transforms.multiscale import MultiScale
from pushforward.transforms.normalise import ActNorm, BatchNorm
from pushforward.transforms.permutation import Permutation, shuffled
from pushforward.transforms.reshape import (
    Flip,
    Patchify,
    Rearrangement,
    Regroup,
    Reordered,
    Squeeze,
    columns,
    numbered,
)
from pushforward.transforms.residual import Exact, Residual, Roulette
from pushforward.transforms.reversible import Reversible, reversible
from pushforward.transforms.supports import Angles, Interval, RealLine

__all__ = [
    "LU",
    "ActNorm",
    "Angles",
    "Autoregressive",
    "BatchNorm",
    "Conditional",
    "Coupling",
    "Exact",
    "Flip",
    "Interval",
    "Matrix",
    "MultiScale",
    "Patchify",
    "Permutation",
    "RealLine",
    "Rearrangement",
    "Regroup",
    "Reordered",
    "Residual",
    "Reversible",
    "Rotation",
    "Roulette",
    "Split",
    "Squeeze",
    "alternating",
    "checkerboard",
    "columns",
    "halves",
    "numbered",
    "reversible",
    "rotation",
    "scattered",
    "shuffled",
    "whole_tokens",
    "within_tokens",
]

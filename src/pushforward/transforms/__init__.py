"""Who moves: the invertible transforms."""

from pushforward.transforms.autoregressive import Autoregressive
from pushforward.transforms.conditional import Conditional
from pushforward.transforms.coupling import (
    Coupling,
    Partial,
    Split,
    alternating,
    checkerboard,
    halves,
    scattered,
    whole_tokens,
    within_tokens,
)
from pushforward.transforms.linear import LU, Linear, Matrix, Rotation, rotation
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
from pushforward.transforms.supports import Circle, Integers, Interval, RealLine, Support

__all__ = [
    "LU",
    "ActNorm",
    "Autoregressive",
    "BatchNorm",
    "Circle",
    "Conditional",
    "Coupling",
    "Exact",
    "Flip",
    "Integers",
    "Interval",
    "Linear",
    "Matrix",
    "MultiScale",
    "Partial",
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
    "Support",
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

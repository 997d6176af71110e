"""Who moves: the invertible transforms."""

from pushforward.transforms.autoregressive import Autoregressive
from pushforward.transforms.coupling import Coupling, Partial, Split, alternating, halves, scattered
from pushforward.transforms.linear import LU, Linear, Rotation
from pushforward.transforms.normalise import ActNorm, BatchNorm
from pushforward.transforms.permutation import Permutation, shuffled
from pushforward.transforms.reshape import Flip, Patchify, Rearrangement, Reordered
from pushforward.transforms.residual import Exact, Residual, Roulette
from pushforward.transforms.supports import Circle, Integers, Interval, RealLine, Support

__all__ = [
    "LU",
    "ActNorm",
    "Autoregressive",
    "BatchNorm",
    "Circle",
    "Coupling",
    "Exact",
    "Flip",
    "Integers",
    "Interval",
    "Linear",
    "Partial",
    "Patchify",
    "Permutation",
    "RealLine",
    "Rearrangement",
    "Reordered",
    "Residual",
    "Rotation",
    "Roulette",
    "Split",
    "Support",
    "alternating",
    "halves",
    "scattered",
    "shuffled",
]

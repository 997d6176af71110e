"""Who moves: the invertible transforms."""

from pushforward.transforms.autoregressive import Autoregressive
from pushforward.transforms.coupling import Coupling, Split, alternating, halves, scattered
from pushforward.transforms.linear import LU, Rotation
from pushforward.transforms.normalise import ActNorm, BatchNorm
from pushforward.transforms.permutation import Permutation, shuffled
from pushforward.transforms.reshape import Flip, Patchify, Rearrangement, Reordered
from pushforward.transforms.residual import Exact, Residual, Roulette
from pushforward.transforms.supports import Angles, Interval, RealLine

__all__ = [
    "LU",
    "ActNorm",
    "Angles",
    "Autoregressive",
    "BatchNorm",
    "Coupling",
    "Exact",
    "Flip",
    "Interval",
    "Patchify",
    "Permutation",
    "RealLine",
    "Rearrangement",
    "Reordered",
    "Residual",
    "Rotation",
    "Roulette",
    "Split",
    "alternating",
    "halves",
    "scattered",
    "shuffled",
]

"""Who moves: the invertible transforms."""

from pushforward.transforms.autoregressive import Autoregressive
from pushforward.transforms.coupling import Coupling, Split, alternating, halves, scattered
from pushforward.transforms.linear import LU, Rotation
from pushforward.transforms.normalise import ActNorm
from pushforward.transforms.permutation import Permutation, shuffled
from pushforward.transforms.reshape import Flip, Patchify, Rearrangement, Reordered

__all__ = [
    "LU",
    "ActNorm",
    "Autoregressive",
    "Coupling",
    "Flip",
    "Patchify",
    "Permutation",
    "Rearrangement",
    "Reordered",
    "Rotation",
    "Split",
    "alternating",
    "halves",
    "scattered",
    "shuffled",
]

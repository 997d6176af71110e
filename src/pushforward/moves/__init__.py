"""How it moves: invertible maps of a token, or of its elements one by one, given raw parameters."""

from pushforward.moves.affine import Affine, AffineParams, Shift
from pushforward.moves.bounds import Bound, Exp, Sigmoid, SoftClip, Softplus, Tanh
from pushforward.moves.categorical import Categorical
from pushforward.moves.combined import Composed, Concatenated, Tempered
from pushforward.moves.histogram import Histogram
from pushforward.moves.mix1 import Mix1
from pushforward.moves.mixd import Gaussians, MixD
from pushforward.moves.mixture import GaussianMixture, LogisticMixture, TokenMixture
from pushforward.moves.monotone import MonotoneNetwork
from pushforward.moves.move import Elementwise, Move
from pushforward.moves.spline import CircularSpline, RationalQuadraticSpline

__all__ = [
    "Affine", "AffineParams", "Bound", "Categorical", "CircularSpline", "Composed", "Concatenated", "Elementwise",
    "Exp", "GaussianMixture", "Gaussians", "Histogram", "LogisticMixture", "Mix1", "MixD", "MonotoneNetwork", "Move",
    "RationalQuadraticSpline", "Shift", "Sigmoid", "SoftClip", "Softplus", "Tanh", "Tempered", "TokenMixture",
]  # fmt: skip

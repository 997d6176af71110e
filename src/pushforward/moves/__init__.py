"""How it moves: one token, or one number, given its parameters."""

from pushforward.moves.affine import Affine, AffineParams, Shift
from pushforward.moves.move import Elementwise, Move

__all__ = ["Affine", "AffineParams", "Elementwise", "Move", "Shift"]

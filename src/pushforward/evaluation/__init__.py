"""How good a flow is: likelihoods, and pictures of samples."""

from pushforward.evaluation.likelihood import bits_per_dim, held_out
from pushforward.evaluation.pictures import captioned, grid, save_picture

__all__ = ["bits_per_dim", "captioned", "grid", "held_out", "save_picture"]

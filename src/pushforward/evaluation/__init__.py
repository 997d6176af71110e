"""How good a flow is: likelihoods, and pictures of samples."""

from pushforward.evaluation.likelihood import held_out
from pushforward.evaluation.pictures import captioned, grid, save_picture

__all__ = ["captioned", "grid", "held_out", "save_picture"]

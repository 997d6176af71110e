"""How good a flow is: likelihoods, the quality of samples, and pictures of them."""

from pushforward.evaluation.features import Extractor, load_extractor
from pushforward.evaluation.importance import Importance, importance
from pushforward.evaluation.likelihood import BitsPerDim, held_out, held_out_bits
from pushforward.evaluation.pictures import captioned, grid, save_picture, table
from pushforward.evaluation.quality import Quality, compare, frechet_distance, kernel_distance, precision_recall

__all__ = [
    "BitsPerDim",
    "Extractor",
    "Importance",
    "Quality",
    "captioned",
    "compare",
    "frechet_distance",
    "grid",
    "held_out",
    "held_out_bits",
    "importance",
    "kernel_distance",
    "load_extractor",
    "precision_recall",
    "save_picture",
    "table",
]

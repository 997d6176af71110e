"""How good a flow is: likelihoods, calibration, the quality of samples, and pictures of them."""

from pushforward.evaluation.calibration import Calibration, check_calibration
from pushforward.evaluation.features import Extractor, load_extractor
from pushforward.evaluation.importance import Importance, importance
from pushforward.evaluation.likelihood import BitsPerDim, held_out, held_out_bits
from pushforward.evaluation.pictures import captioned, grid, save_picture, table
from pushforward.evaluation.plots import plot_coverage, plot_ranks
from pushforward.evaluation.quality import Quality, c2st, compare, frechet_distance, kernel_distance, precision_recall

__all__ = [
    "BitsPerDim",
    "Calibration",
    "Extractor",
    "Importance",
    "Quality",
    "c2st",
    "captioned",
    "check_calibration",
    "compare",
    "frechet_distance",
    "grid",
    "held_out",
    "held_out_bits",
    "importance",
    "kernel_distance",
    "load_extractor",
    "plot_coverage",
    "plot_ranks",
    "precision_recall",
    "save_picture",
    "table",
]

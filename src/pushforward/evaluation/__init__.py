"""Evaluation of flows: likelihoods, importance sampling, calibration, the quality of samples, and pictures."""

from pushforward.evaluation.calibration import Calibration, check_calibration
from pushforward.evaluation.documents import (
    ORDINARY,
    DocumentCosts,
    OrdinaryText,
    PairScores,
    document_costs,
    document_flow,
    document_retrieval,
    mean_document_costs,
    ordinary_text,
    pair_scores,
)
from pushforward.evaluation.features import Extractor, load_extractor
from pushforward.evaluation.importance import Importance, importance
from pushforward.evaluation.likelihood import HeldOut, held_out, held_out_mean, mean_cost
from pushforward.evaluation.perplexity import GenerativePerplexity, generative_perplexity
from pushforward.evaluation.pictures import captioned, check_picture, grid, save_picture, table, zoomed
from pushforward.evaluation.plots import plot_corner, plot_coverage, plot_history, plot_ranks
from pushforward.evaluation.quality import Quality, c2st, compare, frechet_distance, kernel_distance, precision_recall
from pushforward.evaluation.retrieval import Retrieval, caption_retrieval, image_text_score
from pushforward.evaluation.samples import prompted_quality, sample_quality

__all__ = [
    "ORDINARY",
    "Calibration",
    "DocumentCosts",
    "Extractor",
    "GenerativePerplexity",
    "HeldOut",
    "Importance",
    "OrdinaryText",
    "PairScores",
    "Quality",
    "Retrieval",
    "c2st",
    "caption_retrieval",
    "captioned",
    "check_calibration",
    "check_picture",
    "compare",
    "document_costs",
    "document_flow",
    "document_retrieval",
    "frechet_distance",
    "generative_perplexity",
    "grid",
    "held_out",
    "held_out_mean",
    "image_text_score",
    "importance",
    "kernel_distance",
    "load_extractor",
    "mean_cost",
    "mean_document_costs",
    "ordinary_text",
    "pair_scores",
    "plot_corner",
    "plot_coverage",
    "plot_history",
    "plot_ranks",
    "precision_recall",
    "prompted_quality",
    "sample_quality",
    "save_picture",
    "table",
    "zoomed",
]

"""Runs: training into a folder, and functions of such a folder. Each is also a command, `pushforward NAME RUN`."""

from pushforward.runs.denoising import denoise
from pushforward.runs.documents import caption
from pushforward.runs.editing import Chains, edit, inpaint, interpolate
from pushforward.runs.evaluating import check, classify, evaluate
from pushforward.runs.folder import load, load_coded, note, read_recipe, read_results
from pushforward.runs.plotting import plot
from pushforward.runs.sampling import sample
from pushforward.runs.saving import save
from pushforward.runs.scoring import score
from pushforward.runs.training import train

__all__ = [
    "Chains",
    "caption",
    "check",
    "classify",
    "denoise",
    "edit",
    "evaluate",
    "inpaint",
    "interpolate",
    "load",
    "load_coded",
    "note",
    "plot",
    "read_recipe",
    "read_results",
    "sample",
    "save",
    "score",
    "train",
]

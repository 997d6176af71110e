"""What one does with a run: a function a command, each given the run's folder."""

from pushforward.cli.denoising import denoise
from pushforward.cli.editing import Chains, edit, inpaint, interpolate
from pushforward.cli.evaluating import check, classify, evaluate
from pushforward.cli.sampling import Sampling, sample, samples
from pushforward.cli.tabular import Columns, learn

__all__ = [
    "Chains",
    "Columns",
    "Sampling",
    "check",
    "classify",
    "denoise",
    "edit",
    "evaluate",
    "inpaint",
    "interpolate",
    "learn",
    "sample",
    "samples",
]

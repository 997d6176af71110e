"""What one does with a run: a function a command, each given the run's folder."""

from pushforward.commands.editing import Chains, edit, inpaint, interpolate
from pushforward.commands.judge import check, classify, evaluate
from pushforward.commands.repair import denoise
from pushforward.commands.sampling import Sampling, sample, samples
from pushforward.commands.tables import Columns, learn

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

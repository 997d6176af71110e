"""What one does with a run: a function a command, each given the run's folder."""

from pushforward.commands.judge import check, classify, evaluate
from pushforward.commands.repair import denoise
from pushforward.commands.sampling import Sampling, sample, samples
from pushforward.commands.tables import Columns, learn

__all__ = ["Columns", "Sampling", "check", "classify", "denoise", "evaluate", "learn", "sample", "samples"]

"""Learning: an objective, a loop one can read aloud, and the average of the weights it went through."""

from pushforward.training.average import Average
from pushforward.training.loop import Plan, train
from pushforward.training.objective import Likelihood, Objective

__all__ = ["Average", "Likelihood", "Objective", "Plan", "train"]

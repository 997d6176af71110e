"""Training: the loop, checkpoints, early stopping and logs."""

from pushforward.objectives import Annealing, Likelihood, MaximumLikelihood, Objective, ObjectiveConfig, ReverseKL
from pushforward.training import ranks
from pushforward.training.average import Average
from pushforward.training.checkpoint import Checkpoints
from pushforward.training.early_stopping import EarlyStopping, Look
from pushforward.training.interrupts import Interrupted
from pushforward.training.log import History, Log
from pushforward.training.loop import begin, minimise, proceed
from pushforward.training.plan import Plan
from pushforward.training.prepare import networks
from pushforward.training.state import State

__all__ = [
    "Annealing",
    "Average",
    "Checkpoints",
    "EarlyStopping",
    "History",
    "Interrupted",
    "Likelihood",
    "Log",
    "Look",
    "MaximumLikelihood",
    "Objective",
    "ObjectiveConfig",
    "Plan",
    "ReverseKL",
    "State",
    "begin",
    "minimise",
    "networks",
    "proceed",
    "ranks",
]

"""How many steps a training makes in so many minutes: timed once, before the first, and then fixed in the recipe."""

import copy
import time
from dataclasses import replace

from pushforward.arrays import check_number
from pushforward.data import Data
from pushforward.training import Objective, Plan, minimise, ranks
from pushforward.training.loop import Measure

WARM, TIMED = 3, 4.0  # steps until a step takes what it will take, and seconds that are timed


def within(minutes: float, plan: Plan, objective: Objective, data: Data, measure: Measure | None) -> Plan:
    """The plan with as many steps as take so many minutes here, evaluations included.

    A clock decides their number, and nothing else: a copy of the objective is trained for a few seconds, and thrown
    away. The warm-up is at most a tenth of the steps. Raises ValueError unless there is time for a step.
    """
    check_number(minutes, "minutes", above=0)
    started = time.monotonic()
    (each,) = ranks.from_first([_seconds(WARM, plan, objective, data) / WARM])  # all make the same number of steps
    some = max(WARM, min(100, int(TIMED / each)))
    each = _seconds(some, plan, objective, data) / some
    if measure and plan.measure_every:
        looked = time.monotonic()
        measure(copy.deepcopy(objective.flow).eval())
        each += (time.monotonic() - looked) / plan.measure_every
    left = 60 * minutes - (time.monotonic() - started)
    steps = int(ranks.from_first([max(1.0, left / each)])[0])
    return replace(plan, steps=steps, warmup=min(plan.warmup, steps // 10))


def _seconds(steps: int, plan: Plan, objective: Objective, data: Data) -> float:
    """How long so many steps take, on a copy that is thrown away."""
    trial, short = copy.deepcopy(objective), replace(plan, steps=steps, warmup=0, measure_every=0, patience=0)
    started = time.monotonic()
    minimise(trial, data, short, progress=False)
    return time.monotonic() - started

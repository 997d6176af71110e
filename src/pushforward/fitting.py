"""Fit a flow to a table, or to an unnormalised density: what to call when there is no recipe.

Training is `minimise` with a plan that suits the number of rows. Some events are held out. At regular steps the average
of the weights is scored on them; the best weights are kept, and training stops early when they stop improving.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.codecs import Codec, CodedFlow, codec_of
from pushforward.data import Arrays, Data
from pushforward.evaluation import mean_cost
from pushforward.flow import Flow
from pushforward.importance import LogDensity, weighted_draws
from pushforward.randomness import keyed
from pushforward.training import Annealing, Likelihood, Look, Objective, Plan, ReverseKL, State, run_through
from pushforward.training.loop import Measure
from pushforward.training.reverse_kl import scores_in_one_pass
from pushforward.transforms import ProductSupport

LOOKS = 50  # evaluations on held-out events in a training
PATIENCE = 10  # evaluations without improvement
DRAWN = 2000  # events, to score a flow that has no data

Array = Tensor | np.ndarray


@dataclass(frozen=True)
class Fit:
    """The result of a training. Printed, it is one line."""

    measured: str  # what the score is
    score: float | None  # the best: nats, higher is better, or another unit, lower is better; None: nothing held out
    standard_error: float | None  # of that mean over events
    best_step: int  # the step whose weights the flow has
    steps: int
    seconds: float  # of its steps
    stopped: str  # why training ended
    unit: str = "nats"

    @classmethod
    def of(cls, state: State, plan: Plan, measured: str, unit: str = "nats") -> Fit:
        """The result of a training that has ended in this state."""
        stopping = state.early_stopping
        cost, standard_error = stopping.best if stopping else (None, None)
        return cls(
            measured=measured if stopping else "nothing was held out",
            score=-cost if cost is not None and unit == "nats" else cost,
            standard_error=standard_error,
            best_step=min(state.step, stopping.best_look * plan.measure_every) if stopping else state.step,
            steps=state.step,
            seconds=state.seconds,
            stopped="stopped early" if state.enough and state.step < plan.steps else "ended",
            unit=unit,
        )

    def __str__(self) -> str:
        score = "" if self.score is None else f"{self.score:.3f} ± {self.standard_error:.3f} {self.unit} at "
        return (
            f"{self.measured}: {score}step {self.best_step:,}; {self.stopped} after {self.steps:,} steps, "
            f"{self.seconds:.0f} s"
        )


def fit(
    flow: Flow,
    x: Array,
    context: Array | None = None,
    weights: Array | None = None,
    *,
    validation: float = 0.1,
    **changes: Any,
) -> Fit:
    """Maximise the likelihood of x (n, *event) given context (n, …), in place. The flow ends with the best weights.

    The objective is sum w log p / sum w with `weights` w (n,), none negative; weight 0 leaves an event out. The share
    `validation` of the events, 5,000 at most, is held out. The flow is evaluated on them 50 times and the best weights
    are kept; training stops after 10 evaluations in a row without improvement. With validation=0 nothing is held out,
    and all steps are made. Where supports are `Integers`, x is dequantised by `codec_of(flow)`, and scores are bounds.
    `changes` are fields of a `training.Plan`, such as steps, batch, lr, patience or seed; `plan_for` chooses the rest.

    Raises ValueError where rows cannot be used, with their indices, and FloatingPointError where training overflows.
    """
    dtype, codec = _dtype(flow), codec_of(flow)
    given = None if context is None else _tensor(context, dtype)
    data = Arrays(_tensor(x, dtype), given, None if weights is None else _tensor(weights, torch.float64))
    check_rows(CodedFlow(flow, codec), data)
    training, held_out = data.counted().split(validation, seed=changes.get("seed", 0))
    plan = plan_for(len(training), **changes if held_out else {**changes, "patience": 0})
    if held_out and not plan.patience:
        raise ValueError("where events are held out patience is at least 1; got 0. Or give validation=0.")
    measure = None if held_out is None else looking_at(held_out, codec)
    return _learned(Likelihood(flow, codec), training, plan, measure, score_name(CodedFlow(flow, codec)))


def fit_density(
    flow: Flow,
    log_density: LogDensity,
    context: Array | None = None,
    *,
    anneal: Annealing | None = None,
    **changes: Any,
) -> Fit:
    """Fit the flow to an unnormalised density, in place, by `training.ReverseKL`: on its own samples, without data.

    `log_density` takes events (n, *event), and the rows of the context where there is one, and gives log p̃ (n,),
    differentiably. The score is a lower bound on log Z, by fixed noise. Training keeps to the modes that it finds
    first, and the score does not show the others: with `anneal=training.Annealing(width)` the target changes from a
    wide density to p̃, and all steps are made. `evaluation.importance` measures how good the flow is, where it draws.

    Raises ValueError, before training, where `log_density` is not finite at draws of the flow, has no gradient or one
    that is not that of its values, or does not depend on a feature; FloatingPointError where it is not finite later.
    """
    if anneal:
        changes = {"patience": LOOKS, **changes}
    given = None if context is None else _tensor(context, _dtype(flow)).to(flow.device)
    plan = plan_for(DRAWN if given is None else len(given), **changes)
    data = Arrays(torch.empty(plan.batch if given is None else len(given), 0, device="cpu"), given)
    n, some = (DRAWN, None) if given is None else (None, given[:DRAWN])

    @torch.no_grad()
    def look(flow: Flow) -> Look:
        log_w = weighted_draws(flow, log_density, n, some, generator=keyed(plan.seed, -2))[1].double()
        return Look(
            "minus the bound on log Z", -log_w.mean().item(), log_w.std(correction=0).item() / math.sqrt(len(log_w))
        )

    path_gradients = scores_in_one_pass(flow) and not (plan.recomputed or plan.reversible)
    objective = ReverseKL(flow, log_density, anneal, path_gradients=path_gradients)
    return _learned(objective, data, plan, look, "bound on log Z")


def looking_at(data: Data, codec: Codec) -> Callable[[Flow], Look]:
    """What a training evaluates at regular steps: the mean cost of these events, in the codec's unit."""
    return lambda flow: Look(f"held-out {codec.unit}", *mean_cost(CodedFlow(flow, codec), data))


def score_name(coded: CodedFlow) -> str:
    """The name of a score on held-out events. Nats are log p, higher is better; of bits/dim the lower is better."""
    name = coded.codec.quantity if coded.codec.unit == "nats" else coded.codec.unit
    return f"held-out {name}" + ("" if coded.flow.exact else ", log-dets estimated")


def check_rows(coded: CodedFlow, data: Arrays) -> None:
    """Raise ValueError where a flow does not take events, their context, or values outside of its supports."""
    flow = coded.flow
    x = coded.codec.encode(data.events, keyed(0))[0]
    with torch.no_grad():  # raises ValueError where the flow does not take them
        flow.log_prob(x[:1].to(flow.device), None if data.context is None else data.context[:1])
    support = flow.support
    if not isinstance(support, ProductSupport):
        return
    outside = support.outside(x).nonzero().tolist()
    if outside:
        row, feature = outside[0]
        raise ValueError(
            f"feature {feature} of row {row} is {data.events[row, feature]:g}, outside of "
            f"{support.supports[feature]}; {len({row for row, _ in outside})} of {len(x)} rows have such values. "
            "Drop them, or correct the supports."
        )


def _learned(objective: Objective, data: Arrays, plan: Plan, measure: Measure | None, measured: str) -> Fit:
    """Train in place; the objective's flow ends with the best weights, or with their average."""
    state = run_through(objective, data, plan, measure=measure)
    objective.flow.load_state_dict(state.flow.state_dict())
    objective.flow.eval()
    return Fit.of(state, plan, measured)


def plan_for(rows: int, **changes: Any) -> Plan:
    """The plan for so many rows: about fifty epochs, 1,000 to 10,000 steps in all, in float32, and 50 evaluations."""
    batch = changes.get("batch", min(256, rows))
    steps = changes.get("steps", min(10_000, max(1_000, 50 * rows // max(1, batch))))
    chosen = {
        "warmup": min(100, steps // 10),
        "precision": "float32",
        "measure_every": max(1, steps // LOOKS),
        "patience": PATIENCE,
    }
    return Plan(**{"steps": steps, "batch": batch, **chosen, **changes})


def _dtype(flow: Flow) -> torch.dtype:
    return next(t.dtype for t in chain(flow.parameters(), flow.buffers()) if t.is_floating_point())


def _tensor(values: Array, dtype: torch.dtype) -> Tensor:
    """Arrays of any kind as a tensor; real numbers in this precision, integers as they are."""
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    return values.detach().to(dtype) if values.is_floating_point() else values

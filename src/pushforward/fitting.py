"""Fit a flow to a table, or to an unnormalised density: what to call when there is no recipe.

Training is `minimise` with a plan that suits the number of rows. Some events are held out. At regular steps the average
of the weights is scored on them; the best weights are kept, and training stops early when they stop improving.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pushforward.arrays import as_tensor, columns_of, moved
from pushforward.codecs import Codec, CodedFlow, codec_of
from pushforward.conditions import Given, Values, Vector, by_name
from pushforward.data import Arrays, Data
from pushforward.data.data import context_of, named
from pushforward.evaluation import mean_cost
from pushforward.evaluation.likelihood import mean_and_error
from pushforward.fields import meant
from pushforward.flow import Flow
from pushforward.importance import LogDensity, weighted_draws
from pushforward.networks import Embedded
from pushforward.objectives import Annealing, MaximumLikelihood, Objective, ReverseKL
from pushforward.objectives.reverse_kl import scores_in_one_pass
from pushforward.randomness import keyed
from pushforward.rows import check_rows, real_conditions, rows_of
from pushforward.training import History, Look, Plan, State, begin, proceed, ranks
from pushforward.training.log import BESIDES
from pushforward.training.loop import Measure

LOOKS = 50  # evaluations on held-out events in a training
PATIENCE = 10  # evaluations without improvement
DRAWN = 2000  # events, to score a flow that has no data
OTHER_WORDS = {  # for options of a fit, in other packages
    "verbose": "progress",
    "show_progress_bars": "progress",
    "learning_rate": "lr",
    "batch_size": "batch",
    "epochs": "steps, of the optimiser",
    "validation_fraction": "validation",
    "random_state": "seed",
}

Array = Tensor | np.ndarray


class Moment(NamedTuple):
    """Scores of a training after one step, in the sense of the result: of nats higher is better."""

    step: int
    training: float  # of the step's batch; of flow matching its squared error
    held_out: float | None  # of the averaged weights, where they were evaluated


@dataclass(frozen=True)
class Fit:
    """The result of a training. Printed, it is one line. `evaluation.plot_history` draws its history."""

    measured: str  # what the score is
    score: float | None  # the best: nats, higher is better, or another unit, lower is better; None: nothing held out
    standard_error: float | None  # of that mean over events
    best_step: int  # the step whose weights the flow has
    steps: int
    seconds: float  # of its steps
    stopped: str  # why training ended: "ended", "stopped early", "overflowed" or "interrupted"
    unit: str = "nats"
    improving: bool = False  # whether the last of all steps was the best
    history: tuple[Moment, ...] = ()

    @classmethod
    def of(
        cls,
        state: State,
        plan: Plan,
        measured: str,
        unit: str = "nats",
        *,
        stopped: str | None = None,
        history: History | None = None,
    ) -> Fit:
        """The result of a training in this state. `stopped` is None where it came to its end."""
        stopping = state.early_stopping if state.early_stopping and state.early_stopping.best_look else None
        cost, standard_error = stopping.best if stopping else (None, None)
        best_step = min(state.step, stopping.kept_look * plan.measure_every) if stopping else state.step
        ended = "stopped early" if state.enough and state.step < plan.steps else "ended"
        return cls(
            measured=measured if stopping else "nothing was held out",
            score=-cost if cost is not None and unit == "nats" else cost,
            standard_error=standard_error,
            best_step=best_step,
            steps=state.step,
            seconds=state.seconds,
            stopped=stopped or ended,
            unit=unit,
            improving=bool(stopping) and not stopped and best_step == plan.steps and stopping.best_look > 1,
            history=moments(history.lines, state.objective.unit, unit) if history else (),
        )

    def __str__(self) -> str:
        score = "" if self.score is None else f"{self.score:.3f} ± {self.standard_error:.3f} {self.unit} at "
        return (
            f"{self.measured}: {score}step {self.best_step:,}; {self.stopped} after {self.steps:,} steps, "
            f"{self.seconds:.0f} s" + ("; still improving: raise steps" if self.improving else "")
        )


def moments(lines: Sequence[dict[str, float]], trained: str, held_out: str) -> tuple[Moment, ...]:
    """The lines of a training's log as scores, of batches in the unit `trained`, of held-out events in `held_out`."""
    signs, found = [-1 if unit == "nats" else 1 for unit in (trained, held_out)], []
    for line in lines:
        scored = next((value for name, value in line.items() if name not in BESIDES and name != trained), None)
        found.append(Moment(int(line["step"]), signs[0] * line[trained], None if scored is None else signs[1] * scored))
    return tuple(found)


def fit(
    flow: Flow,
    x: Array,
    context: Array | Mapping[str, Array] | None = None,
    weights: Array | None = None,
    *,
    embedding: nn.Module | None = None,
    validation: float = 0.1,
    progress: bool = True,
    **changes: Any,
) -> Fit:
    """Maximise the likelihood of x (n, *event) given context (n, …), in place. The flow ends with the best weights.
    Several conditions are a dict of such by name.

    The objective is sum w log p / sum w with `weights` w (n,), none negative; weight 0 leaves an event out. The share
    `validation` of the events, 5,000 at most, is held out. The flow is evaluated on them before training, and 50
    times in it, and the best weights are kept; training stops after 10 evaluations in a row without improvement. With
    validation=0 nothing is held out, and all steps are made. Where supports are `Integers`, x is dequantised by
    `codec_of(flow)`, and scores are bounds. `changes` are fields of a `training.Plan`, such as steps, batch, lr,
    patience or log_every; `plan_for` chooses the rest. A batch is at most all rows. Progress is written to stderr, or
    nowhere with progress=False.

    `embedding` is a network that maps contexts (n, *shape), standardised, to the vectors (n, C) that the flow is
    conditioned on. It is trained with the flow, of which it becomes part: then flow.log_prob(x, context) and all other
    methods take contexts of that shape.

    Columns may be of any size and in any units: float64 data that float32 does not hold are fitted in float64. `seed`
    is that of the order, the noise and the choice of held-out events. Weights start at random in `model.build()`: to
    repeat a fit, call torch.manual_seed before that too.

    Where training overflows after an evaluation, or is interrupted, the flow has the best weights all the same, with a
    warning; after an interruption KeyboardInterrupt is raised again. Raises ValueError where rows cannot be used, with
    their indices, and FloatingPointError where training overflows before the first evaluation.
    """
    codec = codec_of(flow)
    check_options(changes)
    if embedding is not None:
        embed(flow, embedding, context)
    data = rows_of(flow, x, context, weights).counted()
    check_rows(CodedFlow(flow, codec), data, [label for label, _ in columns_of(x) or ()])
    training, held_out = data.split(validation, seed=changes.get("seed", 0))
    config = flow.objective or MaximumLikelihood()
    plan = plan_for(len(training), **{**config.plan, **changes, **({} if held_out else {"patience": 0})})
    plan = replace(plan, batch=min(plan.batch, len(training)))
    if held_out:
        check_looks(plan, " Or give validation=0.")
    measure = None if held_out is None else looking_at(held_out, codec)
    measured = score_name(CodedFlow(flow, codec))
    return _train(config.build(flow, codec), training, plan, measure, measured, progress=progress)


def embed(flow: Flow, net: nn.Module, context: Given) -> None:
    """Make a network that turns contexts like these (n, *shape) into vectors a part of the flow.

    Raises ValueError where the flow does not take one vector of that size, or has an embedding, or where the network
    fails on contexts of that shape.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"an embedding is a torch.nn.Module, such as nn.Linear(20, 3); got {net!r}.")
    kinds = flow.conditions
    if flow.embedding is not None or [type(kind) for kind in kinds.values()] != [Vector]:
        raise ValueError("an embedding is for a flow that is conditioned on one vector and has no embedding yet.")
    ((name, kind),) = kinds.items()
    rows = as_tensor(by_name(kinds, context)[name], "the context")[:2]
    shape = tuple(rows.shape[1:])
    made = Embedded(net, shape).to(flow.device).eval()
    try:
        with torch.no_grad():
            found = tuple(made(Values(shape).read(moved(rows, flow.device))).value.shape[1:])
    except RuntimeError as error:
        raise ValueError(f"the embedding fails on {tuple(rows.shape)}, contexts as real numbers: {error}.") from error
    if found != kind.shape:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(f"the flow takes {kind.expected}; the embedding gives {found} for each row.")
    flow.embedding, flow.conditions[name] = made, Values(shape)


def fit_density(
    flow: Flow,
    log_density: LogDensity,
    context: Array | Mapping[str, Array] | None = None,
    *,
    anneal: Annealing | None = None,
    progress: bool = True,
    **changes: Any,
) -> Fit:
    """Fit the flow to an unnormalised density, in place, by `training.ReverseKL`: on its own samples, without data.

    `log_density` takes events (n, *event), and the rows of the context where there is one, a dict of several, and gives
    log p̃ (n,), differentiably. The score is a lower bound on log Z, by fixed noise. Training keeps to the modes that it
    finds first, and the score does not show the others: with `anneal=training.Annealing(width)` the target changes from
    a wide density to p̃, and all steps are made. `evaluation.importance` measures how good the flow is, where it draws.
    Progress, overflow and interruption are as in `fit`. The flow starts in units of order 1: where those of p̃ are
    others, call `flow.initialize(rows)` first, on rows about where p̃ is and as wide.

    Raises ValueError, before training, where `log_density` is not finite at draws of the flow, has no gradient or one
    that is not that of its values, or does not depend on a feature; FloatingPointError where it is not finite later.
    """
    check_options(changes)
    if not callable(log_density):
        raise TypeError(f"log_density is a function of events; got a {type(log_density).__name__}. For rows: pf.fit.")
    if not isinstance(anneal, Annealing | None):
        raise TypeError(f"anneal takes training.Annealing(width), such as Annealing(width=5.0); got {anneal!r}.")
    if anneal:
        changes = {"patience": LOOKS, **changes}
    given = pytree.tree_map_only(Tensor, lambda t: moved(t, flow.device), real_conditions(flow, context))
    rows = DRAWN if given is None else named(given)[0][1].shape[:1].numel()
    plan = plan_for(rows, **{"lr": 1e-3, "weight_decay": 1e-4, "steps": max(1000, rows // 5), **changes})
    check_looks(plan)
    data = Arrays(torch.empty(plan.batch if given is None else rows, 0, device="cpu"), given)
    n, some = DRAWN if given is None else None, context_of(given, slice(DRAWN))

    @torch.no_grad()
    def look(flow: Flow) -> Look:
        log_w = weighted_draws(flow, log_density, n, some, generator=keyed(plan.seed, -2))[1]
        return Look("minus the bound on log Z", *mean_and_error(-log_w))

    path_gradients = scores_in_one_pass(flow) and not (plan.recomputed or plan.reversible)
    objective = ReverseKL(flow, log_density, anneal, path_gradients=path_gradients)
    return _train(objective, data, plan, look, "bound on log Z", progress=progress)


def check_looks(plan: Plan, otherwise: str = "") -> None:
    """Raise ValueError where a fit would not evaluate its flow."""
    for name in ("patience", "measure_every"):
        if not getattr(plan, name):
            raise ValueError(f"the best weights are found by evaluations: {name} is at least 1; got 0.{otherwise}")


def looking_at(data: Data, codec: Codec) -> Callable[[Flow], Look]:
    """What a training evaluates at regular steps: the mean cost of these events, in the codec's unit."""
    return lambda flow: Look(f"held-out {codec.unit}", *mean_cost(CodedFlow(flow, codec), data))


def score_name(coded: CodedFlow) -> str:
    """The name of a score on held-out events. Nats are log p, higher is better; of bits/dim the lower is better."""
    name = coded.codec.quantity if coded.codec.unit == "nats" else coded.codec.unit
    return f"held-out {name}" + ("" if coded.flow.exact else ", log-dets estimated")


def _train(
    objective: Objective, data: Arrays, plan: Plan, measure: Measure | None, measured: str, *, progress: bool = True
) -> Fit:
    """Train in place; the objective's flow ends with the best weights, or with their average, in eval mode.

    Whatever ends the training: after an overflow or an interruption a warning says which weights the flow has.
    """
    if plan.parallel != "replicated" and ranks.size() > 1:
        raise ValueError(f"a fit trains in place, and parallel={plan.parallel!r} shards the flow. Train by a recipe.")
    state, history, stopped = begin(objective, data, plan), History(), None
    try:
        proceed(state, data, plan, log=history, measure=measure, progress=progress)
    except FloatingPointError as error:
        if not (state.early_stopping and state.early_stopping.best_look):
            raise
        stopped = "overflowed"
        warnings.warn(f"training overflowed and ended: {error} {_kept(state, plan)}", RuntimeWarning, stacklevel=3)
    except KeyboardInterrupt:
        print(f"interrupted after step {state.step}. {_kept(state, plan)}", file=sys.stderr, flush=True)
        raise
    finally:
        objective.flow.load_state_dict(state.flow.state_dict())
        objective.flow.eval()
        objective.zero_grad()  # of the step that was not made
    following = None if stopped else objective.following()
    if following:
        return _train(following, data, plan, measure, measured, progress=progress)
    return Fit.of(state, plan, measured, stopped=stopped, history=history)


def _kept(state: State, plan: Plan) -> str:
    """Which weights the flow has, as a sentence."""
    stopping = state.early_stopping
    if not stopping or not stopping.best_look:
        return f"The flow has the averaged weights of step {state.step}."
    step = min(state.step, stopping.kept_look * plan.measure_every)
    return f"The flow has the best weights so far, those of step {step}."


def plan_for(rows: int, **changes: Any) -> Plan:
    """The plan for so many rows: a hundred epochs, 2,000 to 10,000 steps in all, in float32, and 50 evaluations.

    The weight decay is (700 / rows)², from 1e-4 to 3: few rows are soon learned by heart. These and the learning rate
    were chosen on held-out rows of small tables: docs/results.md.
    """
    given = Plan(**{"steps": 1, **{name: changes[name] for name in ("steps", "batch") if name in changes}})
    batch = given.batch if "batch" in changes else min(256, rows)
    steps = given.steps if "steps" in changes else min(10_000, max(2_000, 100 * rows // max(1, batch)))
    chosen = {
        "lr": 3e-3,
        "weight_decay": min(3.0, max(1e-4, (700 / max(1, rows)) ** 2)),
        "warmup": min(100, steps // 10),
        "precision": "float32",
        "measure_every": max(1, steps // LOOKS),
        "patience": PATIENCE,
    }
    return Plan(**{"steps": steps, "batch": batch, **chosen, **changes})


def check_options(changes: dict[str, Any]) -> None:
    """Raise TypeError where a fit has no option of a name, with the one that is meant."""
    known = sorted(field.name for field in fields(Plan))
    for name in changes.keys() - known:
        raise TypeError(f"a fit has no option {name!r}: {meant(name, known, OTHER_WORDS)}.")

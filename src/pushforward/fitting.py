"""A flow from a table, or from a density that one can evaluate: what to call when there is no recipe.

Training is `minimise` with a plan for so many rows. Some events are held out: now and then the average of the weights
is scored on them, the best is kept, and training ends when it has not become better for long.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.codecs import CodedFlow, ColumnDequantization, codec_of
from pushforward.data import Arrays
from pushforward.data.data import listed
from pushforward.evaluation import held_out
from pushforward.flow import Flow
from pushforward.importance import LogDensity, weighted_draws
from pushforward.randomness import keyed
from pushforward.training import Likelihood, Objective, Plan, ReverseKL, StopTraining, minimise
from pushforward.transforms import Unconstrain

LOOKS = 50  # at held-out events in a whole training
DRAWN = 2000  # events, to score a flow that has no data
HELD_OUT = 5_000  # events at most: their mean is then known to about a hundredth of a nat

Array = Tensor | np.ndarray


@dataclass(frozen=True)
class Fit:
    """What came of a fit. Print it: a line."""

    measured: str  # what the score is
    score: float | None  # at best, in nats, higher is better; None where nothing was held out
    standard_error: float | None  # of that mean over events
    best_step: int  # whose weights the flow has
    steps: int
    seconds: float
    stopped: str  # why

    def __str__(self) -> str:
        score = "" if self.score is None else f"{self.score:.3f} ± {self.standard_error:.3f} nats at "
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
    patience: int = 10,
    **changes: Any,
) -> Fit:
    """Maximise the likelihood of x (n, *event) given context (n, …), in place: the flow ends with the best weights.

    `weights` (n,), none negative, say how much events count: what is maximised is sum w log p / sum w. Zero leaves an
    event out. The share `validation` of the events, 5,000 at most, is held out; the best of 50 looks at them is kept,
    and after `patience` looks that were no better training stops. 0: nothing is held out, and it runs to its end.
    Where the flow's supports are of integers x is dequantised, by `codec_of(flow)`, and scores are bounds.
    `changes` are fields of a `training.Plan`, as steps, batch, lr or seed, in place of those chosen for so many rows.

    Raises ValueError where rows cannot be used, by their numbers, and FloatingPointError where training overflows.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"validation is the share of the events to hold out, in [0, 1); got {validation}.")
    data = _table(flow, x, context, weights)
    some = min(HELD_OUT, max(1, round(validation * len(data)))) if validation else 0
    if len(data) <= some:
        raise ValueError(
            f"there are {len(data)} events to learn from, and {some} to hold out. Give more, or validation=0."
        )
    codec, plan = codec_of(flow), plan_for(len(data) - some, **changes)
    order = torch.randperm(len(data), generator=keyed(plan.seed))
    watch = None
    if some:
        kept = _part(data, order[:some])
        watch = EarlyStopping(lambda flow: held_out(CodedFlow(flow, codec), kept, batch=1024), kept.weights, patience)
    measured = f"held-out {'bound on log P' if isinstance(codec, ColumnDequantization) else 'log p'}"
    if not flow.exact:
        measured += ", log-dets estimated"
    return _trained(Likelihood(flow, codec), _part(data, order[some:]), plan, watch, measured)


def fit_density(
    flow: Flow,
    log_density: LogDensity,
    context: Array | None = None,
    *,
    patience: int = 10,
    **changes: Any,
) -> Fit:
    """Bring the flow to an unnormalised density, in place, by `training.ReverseKL`: no data but what it draws itself.

    `log_density` takes events (n, *event), and the rows of the context where there is one, and gives log p̃ (n,). The
    score is a lower bound on log Z, by draws that stay the same. `evaluation.importance` says how good the flow is.
    """
    given = None if context is None else _tensor(context, _dtype(flow)).to(flow.device)
    plan = plan_for(DRAWN if given is None else len(given), **changes)
    data = Arrays(torch.empty(plan.batch if given is None else len(given), 0), given)
    n, some = (DRAWN, None) if given is None else (None, given[:DRAWN])

    @torch.no_grad()
    def score(flow: Flow) -> Tensor:
        return weighted_draws(flow, log_density, n, some, generator=keyed(plan.seed, -2))[1]

    return _trained(ReverseKL(flow, log_density), data, plan, EarlyStopping(score, None, patience), "bound on log Z")


class EarlyStopping:
    """Scores a flow now and then, keeps the weights that did best, and has enough of `patience` looks in vain."""

    def __init__(self, score: Callable[[Flow], Tensor], weights: Tensor | None, patience: int):
        if patience < 1:
            raise ValueError(f"patience is a number of looks, at least 1; got {patience}.")
        self.score, self.weights, self.patience = score, weights, patience
        self.looks, self.best_look, self.best, self.standard_error, self.kept = 0, 0, -torch.inf, torch.inf, {}

    def __call__(self, flow: Flow) -> dict[str, float]:
        self.looks += 1
        scores = self.score(flow).double().cpu()
        w = torch.ones_like(scores) if self.weights is None else self.weights.to(scores)
        mean = ((w * scores).sum() / w.sum()).item()
        if mean > self.best:
            self.best, self.best_look, self.kept = mean, self.looks, copy.deepcopy(flow.state_dict())
            self.standard_error = ((w * (scores - mean)).square().sum().sqrt() / w.sum()).item()
        if self.looks - self.best_look >= self.patience:
            raise StopTraining
        return {"score": mean}


def _trained(objective: Objective, data: Arrays, plan: Plan, watch: EarlyStopping | None, measured: str) -> Fit:
    started, flow = time.monotonic(), objective.flow
    average = minimise(objective, data, plan, measure=watch)
    steps = min(plan.steps, watch.looks * plan.measure_every) if watch else plan.steps
    if watch and not watch.kept:
        raise FloatingPointError(f"the {measured} was not finite at any of {watch.looks} looks. Lower lr.")
    flow.load_state_dict(watch.kept if watch else average.state_dict())
    flow.eval()
    return Fit(
        measured=measured if watch else "nothing was held out",
        score=watch.best if watch else None,
        standard_error=watch.standard_error if watch else None,
        best_step=min(plan.steps, watch.best_look * plan.measure_every) if watch else steps,
        steps=steps,
        seconds=time.monotonic() - started,
        stopped="all was done" if steps == plan.steps else "no better for long",
    )


def plan_for(rows: int, **changes: Any) -> Plan:
    """How to learn from so many rows: about fifty epochs, of 1,000 to 10,000 steps in all, in float32."""
    batch = changes.get("batch", min(256, rows))
    steps = changes.get("steps", min(10_000, max(1_000, 50 * rows // max(1, batch))))
    chosen = {"warmup": min(100, steps // 10), "precision": "float32", "measure_every": max(1, steps // LOOKS)}
    return Plan(**{"steps": steps, "batch": batch, **chosen, **changes})


def _table(flow: Flow, x: Array, context: Array | None, weights: Array | None) -> Arrays:
    """The events that count, as the flow takes them, after all of them have been checked."""
    dtype = _dtype(flow)
    data = Arrays(_tensor(x, dtype), None if context is None else _tensor(context, dtype))
    coded = codec_of(flow).encode(data.events, keyed(0))[0]
    with torch.no_grad():  # the flow says what it does not take
        flow.log_prob(coded[:1].to(flow.device), None if data.context is None else data.context[:1])
    _check_supports(flow, data.events, coded)
    if weights is None:
        return data
    w = _tensor(weights, torch.float64).double().cpu()
    if w.shape != (len(data),):
        raise ValueError(f"give one weight for each of {len(data)} events; they are of shape {tuple(w.shape)}.")
    wrong = (~((w >= 0) & w.isfinite())).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"weights are finite and not negative; {listed(wrong)} of them are not, the first is {w[wrong[0]]:g}. A "
            "likelihood with negative weights may have no greatest value: merge or reweight such events first."
        )
    if not w.any():
        raise ValueError("all weights are zero: there is nothing to learn.")
    data.weights = w
    return _part(data, w.nonzero().flatten())


def _check_supports(flow: Flow, x: Tensor, coded: Tensor) -> None:
    """Refuse events that lie outside the supports of the flow's numbers."""
    line = next((part for part in flow.modules() if isinstance(part, Unconstrain)), None)
    outside = [] if line is None else (line.slopes(coded)[1] == -torch.inf).nonzero().tolist()
    if line and outside:
        row, column = outside[0]
        raise ValueError(
            f"number {column} of row {row} is {x[row, column]:g}, which is outside of {line.supports[column]}; "
            f"{len({row for row, _ in outside})} of {len(x)} rows have such numbers. Drop them, or mend the supports."
        )


def _part(data: Arrays, rows: Tensor) -> Arrays:
    part = Arrays(*data.fetch(rows))
    if data.weights is not None:
        weights = data.weights[rows]
        part.weights = (weights / weights.mean()).to(part.events.dtype)
    return part


def _dtype(flow: Flow) -> torch.dtype:
    return next(t.dtype for t in chain(flow.parameters(), flow.buffers()) if t.is_floating_point())


def _tensor(values: Array, dtype: torch.dtype) -> Tensor:
    """Arrays of any kind as a tensor; real numbers in this precision, integers as they are."""
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    return values.detach().to(dtype) if values.is_floating_point() else values

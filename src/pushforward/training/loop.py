"""The training loop: batch after batch a step; at regular steps a log line, a checkpoint, an evaluation."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch

from pushforward.data import Data, Order
from pushforward.flow import Flow
from pushforward.objectives import Objective
from pushforward.randomness import key
from pushforward.training import ranks, sharding
from pushforward.training.checkpoint import Checkpoints
from pushforward.training.early_stopping import Look
from pushforward.training.interrupts import Interrupts
from pushforward.training.log import History, Log
from pushforward.training.plan import Plan
from pushforward.training.precision import float32_by
from pushforward.training.prepare import initialize, prepared
from pushforward.training.progress import Progress
from pushforward.training.state import State
from pushforward.training.step import Batch, Launched, Step, Values

Measure = Callable[[Flow], Look | None]  # evaluates the flow of averaged weights on held-out data


def minimise(
    objective: Objective,
    data: Data,
    plan: Plan,
    *,
    checkpoints: Checkpoints | None = None,
    log: Log | History | None = None,
    measure: Measure | None = None,
    progress: bool = True,
) -> Flow:
    """Train the objective's flow, in place, and return the flow with averaged weights.

    A codec that learns is averaged with the flow, and ends with its average. Where the plan has patience, they are the
    best averages that `measure` evaluated. All randomness is a function of (plan.seed, step, row): a training that
    resumes from a checkpoint ends with the weights of an uninterrupted one, and processes that share a batch take the
    same steps as one, where the loss is a mean over rows. A flow that needs data-dependent initialisation, and had
    none, is initialised from the first events. A step whose loss or gradient is not finite changes nothing; where the
    plan does not skip it, FloatingPointError is raised, and names the module where it arose. Progress is written to
    stderr.

    With `checkpoints`, Ctrl-C and SIGTERM save the state before they end the training. Your own code is called by
    `measure`, with the flow, and by a `log` of yours, whose `write` has the step and its values.
    """
    state = begin(objective, data, plan, checkpoints=checkpoints)
    proceed(state, data, plan, checkpoints=checkpoints, log=log, measure=measure, progress=progress)
    return state.flow


@torch.inference_mode(False)
@torch.enable_grad()
def begin(objective: Objective, data: Data, plan: Plan, *, checkpoints: Checkpoints | None = None) -> State:
    """The state that a training starts from: initialised from data, or restored from the newest checkpoint.

    Raises ValueError where nothing can be learned: weights that require no gradient, or that were made for inference.
    """
    if not isinstance(data, Data):
        raise ValueError(
            f"a training takes data.Data, such as data.Arrays(x, labels); got {type(data).__name__}. Of a torch "
            "Dataset make it by data.FromTorch(dataset)."
        )
    if any(p.is_inference() for p in objective.parameters()):
        raise ValueError(
            "the flow was built under torch.inference_mode(), whose tensors cannot be trained. Build it outside."
        )
    if not any(p.requires_grad for p in objective.parameters()):
        raise ValueError(
            "no weight of the flow requires a gradient, so there is nothing to learn. Give flow.requires_grad_(True)."
        )
    with float32_by(tf32=plan.precision == "tf32"):
        initialize(objective, data, plan)
        objective.check(data)
    state = State(objective, plan)
    if checkpoints:
        checkpoints.restore(state)
    return state


@torch.inference_mode(False)
@torch.enable_grad()
def proceed(
    state: State,
    data: Data,
    plan: Plan,
    *,
    checkpoints: Checkpoints | None = None,
    log: Log | History | None = None,
    measure: Measure | None = None,
    progress: bool = True,
) -> None:
    """Train from this state to the end of the plan, or of patience. Interrupted, the state is that of the last step."""
    if plan.patience and measure is None:
        raise ValueError(f"patience={plan.patience} counts evaluations on held-out data, and nothing is held out.")
    objective = state.objective
    if log and ranks.rank() == 0:
        log.rewind(state.step)
    objective.train()
    shown = progress and ranks.rank() == 0
    bar = Progress(state.step, plan.steps, words=objective.words, shown=shown)
    with float32_by(tf32=plan.precision == "tf32"), prepared(objective, plan), bar:
        network = objective if state.sharded else ranks.wrapped(objective)
        _train(Step(network, state, plan), data, bar, Observers(checkpoints, log, measure))
    stopping = state.early_stopping
    if stopping and stopping.looks and not stopping.best_look:
        raise FloatingPointError(
            f"held-out events had no finite density in any of {stopping.looks} evaluations. Lower lr."
        )
    state.keep_codec()


class Observers(NamedTuple):
    """What is called between the steps of a training; each may be None."""

    checkpoints: Checkpoints | None
    log: Log | History | None
    measure: Measure | None


def _train(step: Step, data: Data, bar: Progress, observers: Observers) -> None:
    """Make the steps that are left. The values of a step are read when the next one has been launched, so that a GPU
    does not wait for the host; all are read before an evaluation or a checkpoint."""
    state, plan, (checkpoints, _, measure) = step.state, step.plan, observers
    if measure and state.early_stopping and state.objective.scores and not state.step:
        state.early_stopping.start(*_evaluated(state, measure)[1:])
    launched: deque[Launched] = deque()
    interrupts = Interrupts() if checkpoints else nullcontext()
    with interrupts as stop:
        started = time.monotonic()
        for batch in () if state.enough else _batches(data, state, plan):
            launched.append(step(batch))
            asked = stop is not None and stop.asked
            due = asked or _due(batch.step + 1, plan, plan.measure_every, plan.checkpoint_every)
            now = batch.step + 1 if due else batch.step
            read = [(launched[0].batch, step.values(launched.popleft())) for _ in range(now - launched[0].batch.step)]
            state.advance(time.monotonic() - started)
            for done, values in read:
                if values.taken:
                    bar.update(done.step + 1, values.value)
                _record(state, plan, done, values, observers)
            if state.enough:
                break
            if checkpoints and stop and asked:
                checkpoints.save(state)
                stop.stop(
                    f"interrupted after step {state.step:,} of {plan.steps:,}, and saved in {checkpoints.run}; the "
                    "same command continues from there."
                )
            started = time.monotonic()


def _batches(data: Data, state: State, plan: Plan) -> Iterator[Batch]:
    """The batches of the steps that are left. The next batch is fetched while one is used."""
    order, share = Order(len(data), seed=plan.seed), ranks.share(plan.batch)
    device = state.objective.flow.device
    pins = device.type == "cuda"

    def fetch(step: int) -> Batch:
        rows = order[step * plan.batch + share.start : step * plan.batch + share.stop]
        weights = None if data.weights is None else data.weights[rows]
        rates = [plan.lr_at(step), state.average.share_at(step), plan.largest_at(step)]
        noise = key(plan.seed, step)
        batch = Batch(step, rows.tolist(), *data.fetch(rows), weights, noise, torch.tensor(rates, device="cpu"))
        return batch.pinned() if pins else batch

    on_device = partial(torch.cuda.set_device, device) if pins else None  # a thread begins on the first GPU
    with ThreadPoolExecutor(1, initializer=on_device) as ahead:
        coming = ahead.submit(fetch, state.step)
        for step in range(state.step, plan.steps):
            batch, coming = coming.result(), ahead.submit(fetch, step + 1)
            yield batch


def _due(step: int, plan: Plan, *every: int) -> bool:
    """Whether something is due after so many steps that is done `every` so many, and after the last; 0: never."""
    return any(n and (step % n == 0 or step == plan.steps) for n in every)


def _record(state: State, plan: Plan, batch: Batch, values: Values, observers: Observers) -> None:
    """After a step: evaluate on held-out data, write a log line, save a checkpoint, each where it is due."""
    checkpoints, log, measure = observers
    done, first = batch.step + 1, ranks.rank() == 0
    if checkpoints and _due(done, plan, plan.log_every, plan.measure_every):
        checkpoints.check()
    numbers: dict[str, float] = {state.objective.unit: values.value, "loss": values.loss, "gradient": values.gradient}
    if measure and _due(done, plan, plan.measure_every):
        look, cost, standard_error = _evaluated(state, measure)
        if look:
            numbers = {**numbers, look.name: look.cost}
        if state.early_stopping:
            state.early_stopping.add(state.averaged_flow, state.averaged_codec, cost, standard_error)
    if log and first and (not values.taken or _due(done, plan, plan.log_every, plan.measure_every)):
        skipped = {} if values.taken else {"skipped": values.skipped, "skipped rows": batch.rows}
        how = {"lr": plan.lr_at(batch.step), "precision": plan.precision_on(state.objective.flow.device)}
        line = {**numbers, **how, "seconds": round(state.seconds, 3), **skipped}
        try:
            log.write(done, line)
        except OSError as error:
            if not checkpoints or ranks.size() > 1:
                raise
            checkpoints.save(state)  # where it cannot, it says which the last one is
            raise OSError(
                f"{error}; the state after step {state.step:,} is saved in {checkpoints.run}, and the same command "
                "continues from there."
            ) from error
    if checkpoints and (_due(done, plan, plan.checkpoint_every) or state.enough):
        checkpoints.save(state)


def _evaluated(state: State, measure: Measure) -> tuple[Look | None, float, float]:
    """The first process's evaluation of the averaged weights; and in every process its cost and standard error, where
    training may stop early."""
    average = sharding.whole(state.averaged_flow)
    with state.averaging_codec():
        look = measure(average) if ranks.rank() == 0 else None
    told = (look.cost, look.standard_error) if look else (math.inf, 0.0)
    cost, standard_error = ranks.from_first(told) if state.early_stopping else told
    return look, cost, standard_error

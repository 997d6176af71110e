"""The training loop: batch, loss, backward, clip, step, average; at regular steps a log line, a checkpoint, a score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pushforward.data import Data, Order
from pushforward.flow import Flow
from pushforward.randomness import Keyed
from pushforward.training import ranks
from pushforward.training.checkpoint import Checkpoints
from pushforward.training.diagnosis import first_not_finite
from pushforward.training.early_stopping import Look
from pushforward.training.log import Log
from pushforward.training.objective import Objective
from pushforward.training.plan import Plan
from pushforward.training.prepare import initialize, prepare
from pushforward.training.progress import Progress
from pushforward.training.state import State

Measure = Callable[[Flow], Look | None]  # evaluates the flow of averaged weights on held-out data


class Batch(NamedTuple):
    """This process's share of a step's rows."""

    rows: list[int]  # indices in the data
    data: Tensor
    context: Tensor | None
    weights: Tensor | None  # (n,)
    noise: Keyed  # by (seed, step, position in the batch)


def minimise(
    objective: Objective,
    data: Data,
    plan: Plan,
    *,
    checkpoints: Checkpoints | None = None,
    log: Log | None = None,
    measure: Measure | None = None,
) -> Flow:
    """Train the objective's flow, in place, and return the flow with averaged weights.

    Where the plan has patience, it returns the best average that `measure` evaluated. All randomness is a function of
    (plan.seed, step, row): a training that resumes from a checkpoint ends with the weights of an uninterrupted one, and
    processes that share a batch take the same steps as one. A flow that needs data-dependent initialisation, and had
    none, is initialised from the first events. Raises FloatingPointError where a loss or gradient is not finite, before
    the weights are changed, and names the module where it arose.
    """
    return run_through(objective, data, plan, checkpoints=checkpoints, log=log, measure=measure).flow


def run_through(
    objective: Objective,
    data: Data,
    plan: Plan,
    *,
    checkpoints: Checkpoints | None = None,
    log: Log | None = None,
    measure: Measure | None = None,
) -> State:
    """`minimise`, which returns the whole state of the training."""
    if plan.patience and measure is None:
        raise ValueError(f"patience={plan.patience} counts evaluations on held-out data, and nothing is held out.")
    objective.check(data)
    initialize(objective, data, plan)
    state = State(objective, plan)
    if checkpoints:
        checkpoints.restore(state)
    if log and ranks.rank() == 0:
        log.rewind(state.step)
    objective.train()
    prepare(objective, plan)
    network = ranks.wrapped(objective)
    shown = ranks.rank() == 0
    with Progress(state.step, plan.steps, unit=objective.unit, shown=shown) as progress:
        for batch in () if state.enough else _batches(data, plan, state.step):
            started = time.monotonic()
            numbers = _step(network, batch, state, plan)
            state.advance(time.monotonic() - started)
            progress.update(state.step, numbers[objective.unit])
            _record(state, plan, numbers, checkpoints, log, measure)
            if state.enough:
                break
    stopping = state.early_stopping
    if stopping and stopping.looks and not stopping.best_look:
        raise FloatingPointError(
            f"held-out events had no finite density in any of {stopping.looks} evaluations. Lower lr."
        )
    return state


def _step(network: nn.Module, batch: Batch, state: State, plan: Plan) -> dict[str, float]:
    """One step of the optimiser, and of the average. Returns the values to log."""
    objective, weights = state.objective, list(state.objective.parameters())
    objective.begin(state.step / plan.steps)
    for group in state.optimiser.param_groups:
        group["lr"] = plan.lr_at(state.step)
    losses, z = _backward(network, batch, plan, objective)
    norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
    loss, value, slope = torch.cat([losses, norm[None]]).tolist()  # the only synchronisation with the device
    if not (math.isfinite(loss) and math.isfinite(slope)):
        raise FloatingPointError(_what_happened(objective, batch, plan, state.step, loss, slope))
    torch.nn.utils.clip_grads_with_norm_(weights, plan.clip or math.inf, norm)
    state.optimiser.step()
    state.optimiser.zero_grad()
    base = objective.flow.base
    if z is not None:
        base.observe(z)
    ranks.average(base.buffers())
    state.average.update(state.step)
    return {objective.unit: value, "loss": loss, "gradient": slope}


def _batches(data: Data, plan: Plan, start: int) -> Iterator[Batch]:
    """The batches of the steps from `start` on. The next batch is fetched while one is used."""
    order, share = Order(len(data), seed=plan.seed), ranks.share(plan.batch)

    def fetch(step: int) -> Batch:
        rows = order[step * plan.batch + share.start : step * plan.batch + share.stop]
        weights = None if data.weights is None else data.weights[rows]
        noise = Keyed(plan.seed, step, rows=range(share.start, share.stop))
        return Batch(rows.tolist(), *data.fetch(rows), weights, noise)

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(fetch, start)
        for step in range(start, plan.steps):
            batch, coming = coming.result(), ahead.submit(fetch, step + 1)
            yield batch


def _backward(network: nn.Module, batch: Batch, plan: Plan, objective: Objective) -> tuple[Tensor, Tensor | None]:
    """Accumulate the gradients of the batch's loss. Returns the loss and the objective's score, averaged over all
    processes; and the latents, if the objective gives them."""
    device = objective.flow.device
    total, latents, dtype = torch.zeros(2, device=device), [], plan.dtype_on(device)
    parts = torch.arange(len(batch.data), device="cpu").chunk(plan.accumulate)
    for i, part in enumerate(parts):
        share = len(part) / len(batch.data)
        rows = slice(int(part[0]), int(part[-1]) + 1)
        context = None if batch.context is None else batch.context[rows]
        weights = None if batch.weights is None else batch.weights[rows].to(device)
        with ranks.apart(network) if i + 1 < len(parts) else nullcontext():
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss, logs = network(batch.data[rows].to(device), context, batch.noise[rows], weights)
            (loss * share).backward()
        total += share * torch.stack([loss.detach(), logs[objective.unit]])
        latents += [logs["z"]] if "z" in logs else []
    ranks.average([total])
    return total, torch.cat(latents) if latents else None


def _record(
    state: State,
    plan: Plan,
    numbers: dict[str, float],
    checkpoints: Checkpoints | None,
    log: Log | None,
    measure: Measure | None,
) -> None:
    """After a step: evaluate on held-out data, write a log line, save a checkpoint, each where it is due."""

    def due(every: int) -> bool:
        return bool(every) and (state.step % every == 0 or state.step == plan.steps or state.enough)

    first = ranks.rank() == 0
    if measure and due(plan.measure_every):
        look = measure(state.average.module) if first else None  # pyright: ignore[reportArgumentType]
        if look:
            numbers = {**numbers, look.name: look.cost}
        if state.early_stopping:
            cost, standard_error = ranks.from_first((look.cost, look.standard_error) if look else (math.inf, 0.0))
            state.early_stopping.add(state.average.module, cost, standard_error)  # pyright: ignore[reportArgumentType]
    if log and first and (due(plan.log_every) or due(plan.measure_every)):
        log.write(state.step, {**numbers, "lr": plan.lr_at(state.step - 1), "seconds": round(state.seconds, 3)})
    if checkpoints and due(plan.checkpoint_every):
        checkpoints.save(state)


def _what_happened(objective: Objective, batch: Batch, plan: Plan, step: int, loss: float, slope: float) -> str:
    device = objective.flow.device
    dtype = plan.dtype_on(device)

    def again() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            objective(batch.data.to(device), batch.context, batch.noise[:])

    where = first_not_finite(objective, again)
    return (
        f"step {step}: loss {loss}, norm of the gradient {slope}; the first not to be finite was {where}. The weights "
        f"were not changed. {objective.remedy(batch.rows, batch.data.to(device), batch.context, batch.noise[:])}"
    )

"""A step of training as a function of tensors, which never waits for the device, and which a CUDA graph can record."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pushforward.capture import Captured
from pushforward.conditions import Given
from pushforward.objectives import Objective
from pushforward.randomness import Keyed
from pushforward.training import ranks
from pushforward.training.diagnosis import first_not_finite
from pushforward.training.plan import Plan
from pushforward.training.sharding import full
from pushforward.training.state import State

WARMUPS = 3  # steps before one is recorded: libraries choose their algorithms, compilers compile


class Batch(NamedTuple):
    """This process's share of a step's rows, and what else changes from step to step."""

    step: int  # from 0
    rows: list[int]  # indices in the data
    data: Tensor
    context: Given
    weights: Tensor | None  # (n,)
    key: Tensor  # (2,): of the noise, by (seed, step)
    rates: Tensor  # (3,): the learning rate, the average's share, the largest norm of a gradient that is taken

    def pinned(self) -> Batch:
        """The batch in pinned memory, from which a GPU copies while the host goes on."""
        return pytree.tree_map_only(Tensor, lambda t: t.pin_memory() if t.is_cpu else t, self)


class Launched(NamedTuple):
    """A step that was launched on the device, and its values, which `arrived` says are on the host."""

    batch: Batch
    values: Tensor
    arrived: torch.cuda.Event | None


class Values(NamedTuple):
    """The values of a step, on the host."""

    loss: float
    value: float  # in the objective's unit
    gradient: float  # its norm
    taken: bool  # whether the weights were changed
    stopped: bool  # whether this step and all later ones are not taken
    skipped: int  # steps so far


class Update:
    """Noise, loss, gradients, their norm and clipping, the optimiser's update, and that of the average.

    A function of tensors: (data, context, weights, key, rates), as in a `Batch`, to what `Values` are read from. A step
    whose loss or gradient is not finite, or whose gradient is larger than the plan takes, changes neither weights nor
    moments, buffers or the average: the device decides, and the host learns of it later. Where training stops for it,
    later steps change nothing either.
    """

    def __init__(self, network: nn.Module, state: State, plan: Plan):
        self.network, self.state, self.plan = network, state, plan
        self.objective, self.device = state.objective, state.objective.flow.device
        share = ranks.share(plan.batch)
        self.rows = torch.arange(share.start, share.stop, device=self.device)
        self.weights = list(self.objective.parameters())
        self.stopped = torch.zeros((), device=self.device, dtype=torch.bool)

    def __call__(self, data: Tensor, context: Given, weights: Tensor | None, key: Tensor, rates: Tensor) -> Tensor:
        base = self.objective.flow.base
        optimiser: Any = self.state.optimiser
        lr, share, largest = rates.unbind()
        optimiser.zero_grad()  # what an interrupted step left
        losses, z = self._backward(data, context, weights, key)
        norm = full(torch.nn.utils.get_total_norm([p.grad for p in self.weights if p.grad is not None])).float()
        taken = self._taken(losses[0].isfinite() & norm.isfinite(), norm > largest)
        for group in optimiser.param_groups:
            group["lr"] = lr
        # the fused update divides gradients by the one, and does nothing where the other is 1
        optimiser.grad_scale = ((norm + 1e-6) / (self.plan.clip or math.inf)).clamp(min=1)
        optimiser.found_inf = 1 - taken.float()
        optimiser.step()
        optimiser.zero_grad()
        if z is not None:
            base.observe(z, weights)
        ranks.average(base.buffers())
        self.state.average.update(share, taken)
        return torch.stack([*losses, norm, taken, self.stopped, self.state.skipped[1]])

    def _taken(self, finite: Tensor, large: Tensor) -> Tensor:
        """Whether this step is taken; counts those that are not."""
        skipped = ~finite | large
        in_a_row, in_all = self.state.skipped
        in_a_row.copy_((in_a_row + 1) * skipped)
        in_all += skipped
        self.stopped |= in_a_row >= self.plan.max_skipped
        if self.plan.on_nonfinite == "stop":
            self.stopped |= ~finite
        return ~(skipped | self.stopped)

    def _backward(
        self, data: Tensor, context: Given, weights: Tensor | None, key: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Accumulate the gradients of the batch's loss. Returns the loss and the objective's score, (2,) float32 and
        averaged over all processes; and the latents, if the objective gives them."""
        total, latents, n = torch.zeros(2, device=self.device), [], len(data)
        each = -(-n // self.plan.accumulate)
        for start in range(0, n, each):
            part = slice(start, min(start + each, n))
            given = _each((data, context, weights), lambda t, part=part: t[part])
            last, share = part.stop == n, (part.stop - start) / n
            with nullcontext() if last else ranks.apart(self.network):
                loss, logs = self.loss(self.network, *given[:2], Keyed.of(key, self.rows[part]), given[2])
                (loss * share).backward()
            total += share * torch.stack([loss.detach(), logs[self.objective.unit]])
            latents += [logs["z"]] if "z" in logs else []
        ranks.average([total])
        return total, torch.cat(latents) if latents else None

    def loss(self, objective: nn.Module, *given: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's answer, in the plan's precision."""
        dtype = self.plan.dtype_on(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return objective(*given)

    def not_finite(self, data: Tensor, context: Given, weights: Tensor | None, key: Tensor) -> list[str]:
        """The names of the weights whose gradients are not finite: for a diagnosis. Gradients are those of this
        process's rows; where weights are sharded, of all rows."""
        named = dict(self.objective.named_parameters())
        loss, _ = self.loss(self.objective, data, context, Keyed.of(key, self.rows), weights)
        loss.backward()
        found = [name for name, p in named.items() if p.grad is not None and not full(p.grad).isfinite().all()]
        self.state.optimiser.zero_grad()
        return found


class Step:
    """Makes steps by an `Update`, which it records as a CUDA graph where it can, and reads their values later."""

    def __init__(self, network: nn.Module, state: State, plan: Plan):
        self.state, self.plan, self.objective = state, plan, state.objective
        self.device = self.objective.flow.device
        self._update = Update(network, state, plan)
        self._captured = Captured(self._update, self.device, warmups=WARMUPS, large=True)
        self._hindrance = self._why_not_captured()

    @property
    def why(self) -> str | None:
        """Why the last step was not the replay of a CUDA graph; None where it was."""
        return self._hindrance or self._captured.why

    def __call__(self, batch: Batch) -> Launched:
        """Make a step, or have the device make it."""
        given = self._moved(batch)
        self.objective.begin(batch.step / self.plan.steps)
        values = self._update(*given) if self._hindrance else self._captured(*given)
        if not values.is_cuda:
            return Launched(batch, values, None)
        if not self._hindrance and self._captured.refused:
            self._hindrance = self._captured.refused
            warnings.warn(f"training steps are not captured as a CUDA graph: {self._hindrance}.", stacklevel=2)
        values, arrived = values.to("cpu", non_blocking=True), torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(self.device))
        return Launched(batch, values, arrived)

    def values(self, launched: Launched) -> Values:
        """The values of a step, once it has been made. Raises FloatingPointError where training stops for it."""
        if launched.arrived:
            launched.arrived.synchronize()
        loss, value, gradient, taken, stopped, skipped = launched.values.tolist()
        values = Values(loss, value, gradient, bool(taken), bool(stopped), int(skipped))
        if values.stopped:
            raise FloatingPointError(self._what_happened(launched.batch, values))
        return values

    def _what_happened(self, batch: Batch, values: Values) -> str:
        given = self._moved(batch)
        told = f"step {batch.step}: loss {values.loss}, norm of the gradient {values.gradient}; "
        if math.isfinite(values.loss) and math.isfinite(values.gradient):
            told += f"its norm is above skip_above={self.plan.skip_above}"
        else:
            where = first_not_finite(self.objective, partial(self._update.not_finite, *given[:4]))
            told += f"the first not to be finite was {where}"
        if self.plan.on_nonfinite == "skip" or self.plan.skip_above:
            told += f"; steps skipped so far: {values.skipped}, where {self.plan.max_skipped} in a row stop training"
        data, context, _, key, _ = given
        kind = Objective if self.state.sharded else type(self.objective)  # a sharded flow's methods lack its weights
        remedy = kind.remedy(self.objective, batch.rows, data, context, Keyed.of(key, self._update.rows))
        return f"{told}. The weights were not changed. {remedy}"

    def _why_not_captured(self) -> str | None:
        if not self.plan.captured:
            return "the plan has captured=False"
        if ranks.size() > 1:
            return "processes average their gradients"
        if self.plan.recomputed:
            return "networks that recompute activations read the state of torch's generators"
        if self.objective.scores and not self.objective.flow.exact:
            return "log-dets are estimated by terms whose number is drawn on the host"
        if self.objective.changes:
            return "the objective changes from step to step"
        return None

    def _moved(self, batch: Batch) -> tuple[Any, ...]:
        """The batch's tensors on the device, by copies that the host does not wait for where its memory is pinned."""
        return _each(tuple(batch[2:]), lambda t: t.to(self.device, non_blocking=True))


def _each(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The values with `change` applied to every tensor in them."""
    return pytree.tree_map_only(Tensor, change, values)

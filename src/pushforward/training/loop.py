"""The training loop: next batch, loss, backward, clip, step, average."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.context import Given
from pushforward.flow import Flow
from pushforward.randomness import keyed
from pushforward.training.average import Average
from pushforward.training.objective import Objective
from pushforward.training.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a flow is trained."""

    steps: int
    lr: float = 1e-3  # at the top of the schedule: linear warm-up, then cosine to a hundredth
    warmup: int = 100  # steps
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-4
    clip: float = 1.0  # largest norm of the gradient
    average_decay: float = 0.999  # of the weights' moving average, a step
    dtype: torch.dtype | None = None  # float32 or bfloat16, of the networks; None: what the hardware is fast at
    seed: int = 0

    def __post_init__(self):
        if self.dtype not in (None, torch.float32, torch.bfloat16):
            raise ValueError(f"networks train in float32 or bfloat16, not in {self.dtype}.")

    def lr_at(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def train(objective: Objective, batches: Iterator[tuple[Tensor, Given]], plan: Plan) -> Flow:
    """Train the objective's flow, in place, and return the average of the flows it went through.

    Every random number is a function of (plan.seed, step, row). Raises FloatingPointError at a loss or gradient that is
    not finite, before it reaches the weights, and ValueError where the batches end before the plan.
    """
    flow = objective.flow
    device, dtype = flow.device, plan.dtype or fast_dtype(flow.device)
    optimiser = torch.optim.AdamW(
        objective.parameters(), lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay, fused=True
    )
    average = Average(flow, plan.average_decay)
    objective.train()
    with Progress(plan.steps) as progress:
        for step in range(plan.steps):
            data, context = next(batches, (None, None))
            if data is None:
                raise ValueError(f"the batches ended after {step} of {plan.steps} steps.")
            for group in optimiser.param_groups:
                group["lr"] = plan.lr_at(step)
            rows = [keyed(plan.seed, step, row) for row in range(len(data))]
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss, logs = objective(data.to(device), context, rows)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), plan.clip)
            now, slope, bits = torch.stack([loss.detach(), norm, logs["bits/dim"]]).tolist()  # one wait for the device
            if not (math.isfinite(now) and math.isfinite(slope)):
                raise FloatingPointError(f"step {step}: loss {now}, norm of the gradient {slope}")
            optimiser.step()
            optimiser.zero_grad()
            flow.base.observe(logs["z"])
            average.update(flow)
            progress.update(step, bits)
    return average.module  # pyright: ignore[reportReturnType]


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware itself multiplies matrices in it, else float32."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    fast |= device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32

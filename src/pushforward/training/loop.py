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
    average: float = 0.999  # decay of the weights' moving average, a step
    dtype: torch.dtype | None = None  # of the networks; None: bfloat16 where the hardware is fast at it
    seed: int = 0

    def lr_at(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def train(objective: Objective, batches: Iterator[tuple[Tensor, Given]], plan: Plan) -> Flow:
    """Train the objective's flow, in place, and return the average of the flows it went through.

    Every random number is a function of (plan.seed, step, row). Raises FloatingPointError at a loss or gradient that is
    not finite, before it reaches the weights.
    """
    flow = objective.flow
    device, dtype = flow.device, plan.dtype or fast_dtype(flow.device)
    optimiser = torch.optim.AdamW(
        objective.parameters(), lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay, fused=True
    )
    average = Average(flow, plan.average)
    objective.train()
    with Progress(plan.steps) as progress:
        for step, (data, context) in zip(range(plan.steps), batches, strict=False):
            for group in optimiser.param_groups:
                group["lr"] = plan.lr_at(step)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                rows = [keyed(plan.seed, step, row) for row in range(len(data))]
                loss, logs = objective(data.to(device), context, rows)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), plan.clip)
            if not (loss.isfinite() and norm.isfinite()):
                raise FloatingPointError(f"step {step}: loss {loss.item()}, norm of the gradient {norm.item()}")
            optimiser.step()
            optimiser.zero_grad()
            flow.base.observe(logs["z"])
            average.update(flow)
            progress.update(step, logs["bits/dim"])
    return average.module  # pyright: ignore[reportReturnType]


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies matrices in it, else float32."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    fast |= device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32

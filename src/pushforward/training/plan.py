"""The hyper-parameters of training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from pushforward.arrays import check_number
from pushforward.fields import check_types


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a flow is trained, by AdamW. Rows are counted over all processes.

    `parallel` says which weights each of several processes holds: all ("replicated"), a share ("sharded"), or a share
    of those that the processes of its node hold together ("hybrid").
    """

    steps: int
    batch: int = 128  # rows a step
    lr: float = 1e-3  # at the top of the schedule: linear warm-up, then cosine to a hundredth
    warmup: int = 100  # steps
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-4
    clip: float | None = 1.0  # largest norm of the gradient; None: any
    average_decay: float = 0.999  # of the weights' moving average, a step; 0: the weights themselves
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"  # of networks; auto: bfloat16 where it is fast
    on_nonfinite: Literal["stop", "skip"] = "stop"  # where a loss or gradient is not finite; no weight is changed
    skip_above: float | None = None  # after warm-up, steps whose gradient has a larger norm are skipped; None: none
    max_skipped: int = 10  # steps in a row; then training stops
    seed: int = 0  # of the order and the noise; in a recipe of the weights too
    parallel: Literal["replicated", "sharded", "hybrid"] = "replicated"  # among processes
    accumulate: int = 1  # gradient accumulation: the number of parts of a batch
    recomputed: bool = False  # activation checkpointing: networks recompute activations for the gradient
    reversible: bool = False  # chains recompute intermediate values by their inverses for the gradient
    compiled: bool = False  # layers of networks are compiled by torch.compile
    captured: bool = True  # on a GPU a step is recorded as a CUDA graph, where it can be
    log_every: int = 10  # steps, as are the next two
    checkpoint_every: int = 1000
    measure_every: int = 0  # between evaluations on held-out data; 0: none
    patience: int = 0  # evaluations without improvement before early stopping; 0: all steps are made

    def __post_init__(self):
        check_types(self)
        if self.precision not in ("auto", "float32", "tf32", "bfloat16"):
            raise ValueError(f"networks train in float32, tf32, bfloat16 or auto; got precision={self.precision!r}.")
        if self.parallel not in ("replicated", "sharded", "hybrid"):
            raise ValueError(f"weights are replicated, sharded or hybrid; got parallel={self.parallel!r}.")
        if self.reversible and self.parallel != "replicated":
            raise ValueError(
                f"reversible=True reads weights without calling networks, and parallel={self.parallel!r} gathers them "
                "when networks are called. Give recomputed=True, which saves activations too, or parallel='replicated'."
            )
        if self.on_nonfinite not in ("stop", "skip"):
            raise ValueError(f"where a loss is not finite, stop or skip; got on_nonfinite={self.on_nonfinite!r}.")
        for name in ("steps", "batch", "accumulate", "log_every", "checkpoint_every", "max_skipped"):
            check_number(getattr(self, name), name, least=1)
        for name in ("lr", "clip", "skip_above"):
            if (number := getattr(self, name)) is not None:
                check_number(number, name, above=0)
        for name in ("warmup", "weight_decay", "measure_every", "patience"):
            check_number(getattr(self, name), name, least=0)
        for decay in (*self.betas, self.average_decay):
            check_number(decay, "a decay of betas and average_decay", least=0, below=1)
        if self.patience and not self.measure_every:
            raise ValueError(f"patience={self.patience} counts evaluations on held-out data: give measure_every too.")

    def small(self) -> Plan:
        """The same in miniature: six steps of a test."""
        return replace(self, steps=6, batch=8, warmup=2, lr=5e-3, checkpoint_every=3, measure_every=0, patience=0)

    def lr_at(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def largest_at(self, step: int) -> float:
        """The largest norm of a gradient that is taken."""
        return math.inf if self.skip_above is None or step < self.warmup else self.skip_above

    def dtype_on(self, device: torch.device) -> torch.dtype:
        """The networks' dtype under autocast; that of TF32 is float32."""
        return torch.bfloat16 if self.precision_on(device) == "bfloat16" else torch.float32

    def precision_on(self, device: torch.device) -> str:
        """The networks' precision. "auto" is bfloat16 where the hardware multiplies matrices in it, else float32."""
        if self.precision != "auto":
            return self.precision
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        fast |= device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return "bfloat16" if fast else "float32"

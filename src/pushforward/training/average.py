"""An exponential moving average of a module's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of `module` with averaged weights: average <- decay · average + (1 − decay) · weights, at each step.

    In early steps the decay is (1 + step) / (10 + step), where that is smaller, so that initial weights are forgotten.
    Buffers are copied: a variance that a base has observed belongs to the latents of the present weights.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.module = copy.deepcopy(module).eval()
        self.weights: tuple[list[Tensor], list[Tensor]] = [*self.module.parameters()], [*module.parameters()]
        self.buffers = list(self.module.buffers()), list(module.buffers())

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(*self.weights, step)
        for mine, now in zip(*self.buffers, strict=True):
            mine.copy_(now)

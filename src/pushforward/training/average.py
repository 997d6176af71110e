"""An exponential moving average of a module's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of `module` that follows it: average <- decay · average + (1 − decay) · now.

    Early on the decay is (1 + step) / (10 + step) where that is smaller, so that the start is forgotten.
    Buffers are copied: a variance that a base observed is that of the latents of the weights of the moment.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.module = copy.deepcopy(module).eval()
        self.parameters = list(self.module.parameters()), list(module.parameters())
        self.buffers = list(self.module.buffers()), list(module.buffers())

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(*self.parameters, step)  # pyright: ignore[reportArgumentType] - its lists are invariant
        for mine, now in zip(*self.buffers, strict=True):
            mine.copy_(now)

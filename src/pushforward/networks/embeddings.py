"""Context encoders: a condition of the context as one vector of the network's width, each with its own null."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.conditions import Condition, Context, find
from pushforward.shapes import at_least_float32, moments


class LabelEmbedding(nn.Module):
    """A vector for each class; the null is the mean of them all. Context -> (batch, width).

    `name` is that of the condition which it reads. Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
    """

    def __init__(self, classes: int, width: int, *, name: str = "label"):
        super().__init__()
        self.name = name
        self.table = nn.Parameter(0.01 * torch.randn(classes, width))

    def forward(self, context: Context | None) -> Tensor:
        label = find(context, self.name)
        return torch.where(label.null[:, None], self.table.mean(0), self.table[label.value])


class Units(nn.Module):
    """A condition's vectors, with mean 0 and standard deviation 1: (vector − shift) · exp(−log_scale).

    `Flow.initialize` sets both from data; until then the vectors' own units stay. Condition -> (batch, features).
    """

    shift: Tensor
    log_scale: Tensor

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("log_scale", torch.zeros(features))

    def forward(self, condition: Condition) -> Tensor:
        return (at_least_float32(condition.value) - self.shift) * torch.exp(-self.log_scale)

    @torch.no_grad()
    def initialize_from(self, condition: Condition) -> None:
        """Set shift and scale from the rows that are not null. Called by `Flow.initialize`, and by nobody else."""
        if not condition.null.all():
            mean, deviation = moments(condition.value[~condition.null])
            self.shift.copy_(mean)
            self.log_scale.copy_(deviation.log())


class VectorEmbedding(nn.Module):
    """A linear map of a vector, in `Units`; the null is a learned vector. Context -> (batch, width).

    `name` is that of the condition which it reads.
    """

    def __init__(self, features: int, width: int, *, name: str = "vector"):
        super().__init__()
        self.name = name
        self.units = Units(features)
        self.linear = nn.Linear(features, width)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, context: Context | None) -> Tensor:
        condition = find(context, self.name)
        vector = self.units(condition).to(self.null.dtype)
        return torch.where(condition.null[:, None], self.null, self.linear(vector))

"""Projections of a context to one vector of the network's width, each with its own null."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.shapes import at_least_float32, moments


class LabelEmbedding(nn.Module):
    """A vector for each class; the null is the mean of them all. Context -> (batch, width).

    Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.table = nn.Parameter(0.01 * torch.randn(classes, width))

    def forward(self, context: Context) -> Tensor:
        return torch.where(context.null[:, None], self.table.mean(0), self.table[context.labels])


class Units(nn.Module):
    """A context's vectors, with mean 0 and standard deviation 1: (vector − shift) · exp(−log_scale).

    `Flow.initialize` measures both; until then the vectors' own units stay. Context -> (batch, features).
    """

    shift: Tensor
    log_scale: Tensor

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("log_scale", torch.zeros(features))

    def forward(self, context: Context) -> Tensor:
        assert context.vector is not None
        return (at_least_float32(context.vector) - self.shift) * torch.exp(-self.log_scale)

    @torch.no_grad()
    def initialize_from(self, context: Context) -> None:
        """Measure the rows that are not null. Called by `Flow.initialize`, and by nobody else."""
        assert context.vector is not None
        if not context.null.all():
            mean, deviation = moments(context.vector[~context.null])
            self.shift.copy_(mean)
            self.log_scale.copy_(deviation.log())


class VectorEmbedding(nn.Module):
    """A linear map of the context's vector, in `Units`; the null is a learned vector. Context -> (batch, width)."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.units = Units(features)
        self.linear = nn.Linear(features, width)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, context: Context) -> Tensor:
        vector = self.units(context).to(self.null.dtype)
        return torch.where(context.null[:, None], self.null, self.linear(vector))

"""Projections of a context to one vector of the network's width, each with its own null."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.context import Context
from pushforward.shapes import at_least_float32, moments


class LabelTable(nn.Module):
    """A vector for each class; the null is the mean of them all. Context -> (batch, width).

    Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.table = nn.Parameter(0.01 * torch.randn(classes, width))

    def forward(self, context: Context) -> Tensor:
        return torch.where(context.null[:, None], self.table.mean(0), self.table[context.labels])


class VectorProjection(nn.Module):
    """A linear map of the context's vector, standardised; the null is a learned vector. Context -> (batch, width).

    `Flow.initialise` measures mean and scale; until then the vector's own units stay.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, width: int):
        super().__init__()
        self.linear = nn.Linear(features, width)
        self.null = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, context: Context) -> Tensor:
        assert context.vector is not None
        vector = (at_least_float32(context.vector) - self.mean) / self.scale
        return torch.where(context.null[:, None], self.null, self.linear(vector.to(self.null.dtype)))

    @torch.no_grad()
    def measure(self, context: Context) -> None:
        """Take mean and scale from the rows that are not null. Called by `Flow.initialise`, and by nobody else."""
        assert context.vector is not None
        if not context.null.all():
            for kept, measured in zip((self.mean, self.scale), moments(context.vector[~context.null]), strict=True):
                kept.copy_(measured)

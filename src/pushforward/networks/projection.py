"""Projections of a context to one vector of the network's width, each with its own null."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.context import Context


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
    """A linear map of the context's vector; the null is a learned vector. Context -> (batch, width)."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.linear = nn.Linear(features, width)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, context: Context) -> Tensor:
        assert context.vector is not None
        return torch.where(context.null[:, None], self.null, self.linear(context.vector.to(self.null.dtype)))

"""Context encoders: each maps one condition of the context, or its null, to a vector of the network's width."""

import math

import torch
from torch import Tensor, nn

from pushforward.conditions import Condition, Context, find
from pushforward.plain import computes_in
from pushforward.randomness import normal
from pushforward.shapes import at_least_float32
from pushforward.statistics import Measured, central, moments


class LabelEmbedding(nn.Module):
    """A learned vector for each class; the null is their mean. Context -> (batch, width).

    `name` names the condition that it reads. Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
    """

    def __init__(self, classes: int, width: int, *, name: str = "label"):
        super().__init__()
        self.name = name
        self.table = nn.Parameter(normal(0.01, classes, width))

    def forward(self, context: Context | None) -> Tensor:
        label = find(context, self.name)
        return torch.where(label.null[:, None], self.table.mean(0), self.table[label.value])


class NoiseEmbedding(nn.Module):
    """A perceptron of the waves of a noise level t: sin and cos of f_k · log t. Context -> (batch, width).

    f_k = 10000^(−2k / width) for k < width / 2. `name` names the condition that it reads. iTARFlow 2026,
    arXiv:2604.20041.
    """

    def __init__(self, width: int, *, name: str = "noise"):
        super().__init__()
        if width % 2:
            raise ValueError(f"sines and cosines of a noise level need an even width; got {width}.")
        self.name, self.width = name, width
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, context: Context | None) -> Tensor:
        level = at_least_float32(find(context, self.name).value)
        k = torch.arange(self.width // 2, device=level.device, dtype=level.dtype)
        angles = level.log()[:, None] * 10000 ** (-2 * k / self.width)
        return self.mlp(torch.cat([angles.sin(), angles.cos()], -1).to(computes_in(self.mlp[0])))


class Summed(nn.Module):
    """The sum of the vectors of several context encoders. Context -> (batch, width)."""

    def __init__(self, *parts: nn.Module):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, context: Context | None) -> Tensor:
        return torch.stack([part(context) for part in self.parts]).sum(0)


class Units(Measured):
    """Standardises the vectors of a condition: (vector − shift) · exp(−log_scale). Condition -> (batch, features).

    `Flow.initialize` sets shift and scale from data; until then this is the identity. With robust=True they are median
    and central range.
    """

    def __init__(self, features: int, *, robust: bool = False):
        super().__init__()
        self.statistics = central if robust else moments
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("log_scale", torch.zeros(features))

    def forward(self, condition: Condition) -> Tensor:
        self.tell_if_rounded(condition.value)
        return (at_least_float32(condition.value) - self.shift) * torch.exp(-self.log_scale.to(self.shift.dtype))

    def initialize_from(self, condition: Condition) -> None:
        """Set shift and scale from the rows that are not null. Called by `Flow.initialize` alone."""
        if not condition.null.all():
            value = condition.value[~condition.null]
            self.measure(*self.statistics(value), value.dtype)


class Embedded(nn.Module):
    """A network of conditions of any shape, whose elements are standardised first: Condition -> Condition.

    `net` maps values (batch, *shape) to vectors (batch, features).
    """

    def __init__(self, net: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self.net, self.shape, self.units = net, shape, Units(math.prod(shape))

    def forward(self, condition: Condition) -> Condition:
        values = self.units(condition._replace(value=condition.value.flatten(1)))
        return condition._replace(value=self.net(values.to(computes_in(self.net)).unflatten(1, self.shape)))


class VectorEmbedding(nn.Module):
    """A linear map of a standardised vector; the null is a learned vector. Context -> (batch, width).

    `name` names the condition that it reads.
    """

    def __init__(self, features: int, width: int, *, name: str = "vector", robust: bool = False):
        super().__init__()
        self.name = name
        self.units = Units(features, robust=robust)
        self.linear = nn.Linear(features, width)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, context: Context | None) -> Tensor:
        condition = find(context, self.name)
        null = condition.null[:, None]
        vector = self.units(condition).to(self.null.dtype).masked_fill(null, 0)  # else NaN there, in gradients too
        return torch.where(null, self.null, self.linear(vector))

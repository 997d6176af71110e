"""The networks of nflows: residual perceptrons, masked and not.

They differ from `MLP` and `MaskedMLP` in three ways: a residual network has no activation before its last layer; every
residual block reads the context; and the context is added after an activation, or multiplies as a gate.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pushforward.conditions import Context, find
from pushforward.networks import CausalNetwork
from pushforward.networks.masked import MaskedLinear
from pushforward.networks.mlp import Activation
from pushforward.plain import computes_in

Linear = nn.Linear | MaskedLinear


class Branch(nn.Module):
    """h + W2 a(W1 a(h)) · sigmoid(C c), or, where the context c is `added`, h + W2 a(W1 a(h) + C c). Biases are left
    out."""

    def __init__(self, layers: Iterable[Linear], read: Linear | None, activation: Activation, *, added: bool):
        super().__init__()
        self.first, self.second = layers
        self.read, self.activation, self.added = read, activation, added

    def forward(self, h: Tensor, c: Tensor | None) -> Tensor:
        read = None if self.read is None else self.read(c)
        branch = self.first(self.activation(h))
        if read is not None and self.added:
            branch = branch + read
        branch = self.second(self.activation(branch))
        return h + (branch if read is None or self.added else branch * torch.sigmoid(read))


class Layer(nn.Module):
    """a(W h): a block that is not residual. It reads no context."""

    def __init__(self, linear: Linear, activation: Activation):
        super().__init__()
        self.linear, self.activation = linear, activation

    def forward(self, h: Tensor, c: Tensor | None) -> Tensor:
        return self.activation(self.linear(h))


class ResidualNet(nn.Module):
    """(batch, features) -> (batch, elements, raw): h = W [x, c], then branches, then a linear map."""

    def __init__(self, first: Linear, blocks: Iterable[nn.Module], last: Linear, raw: int):
        super().__init__()
        self.first, self.blocks, self.last, self.raw = first, nn.ModuleList(blocks), last, raw

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        dtype = computes_in(self.last)
        x, c = x.to(dtype), _vector(context, dtype)
        h = self.first(x if c is None else torch.cat([x, c], 1))
        for block in self.blocks:
            h = block(h, c)
        return self.last(h).unflatten(1, (-1, self.raw))


class MaskedNet(CausalNetwork):
    """(batch, D) -> (batch, D, raw), of masked layers: h = W x + a(C c), then blocks, then a linear map.

    Where the blocks are not residual, an activation follows the first layer. Sampling takes D passes.
    """

    token = ()

    def __init__(
        self,
        first: Linear,
        read: Linear | None,
        blocks: Iterable[nn.Module],
        last: Linear,
        activation: Activation,
    ):
        super().__init__()
        self.first, self.read, self.blocks, self.last = first, read, nn.ModuleList(blocks), last
        self.activation = activation
        self.features = self.tokens = first.in_features

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        dtype = computes_in(self.last)
        c, h = _vector(context, dtype), self.first(x.to(dtype))
        if self.read is not None:
            h = h + self.activation(self.read(c))
        if not all(isinstance(block, Branch) for block in self.blocks):
            h = self.activation(h)
        for block in self.blocks:
            h = block(h, c)
        return self.last(h).unflatten(1, (self.features, -1))


def _vector(context: Context | None, dtype: torch.dtype) -> Tensor | None:
    """The context's vector, in this dtype; zeros for a row whose condition is null."""
    if not context:
        return None
    value, null, _ = find(context, "vector")
    return torch.where(null[:, None], 0, value.to(dtype))

"""A textbook TarFlow sampler: the cache grows by concatenation, and guidance evaluates the network twice.

Token by token, in float32, with the weights of one of our flows: a step passes a token through every layer, appends its
keys and values, and computes the next token. It gives the same samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.flow import Flow
from pushforward.networks import CausalTransformer
from pushforward.transforms import Autoregressive, Flip, Patchify, Permuted


class Memory:
    """Keys and values of each layer."""

    def __init__(self):
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if layer in self.keys:
            keys = torch.cat([self.keys[layer], keys], dim=2)
            values = torch.cat([self.values[layer], values], dim=2)
        self.keys[layer], self.values[layer] = keys, values
        return keys, values


def read(net: CausalTransformer, x: Tensor, labels: Tensor | None, t: int, memory: Memory) -> tuple[Tensor, Tensor]:
    """Token t -> log_scale and shift of token t + 1; labels of None are the null."""
    h = net.read(x) + net.positions.weight[t : t + 1]
    if net.context_encoder is not None:
        table = net.context_encoder.table
        h = h + (table.mean(0) if labels is None else table[labels][:, None])
    for i, layer in enumerate(net.layers):
        attention = layer.attention
        q, k, v = (
            part.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for part in attention.qkv(attention.norm(h)).chunk(3, dim=-1)
        )
        k, v = memory.append(i, k, v)
        h = h + attention.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        h = h + layer.mlp(h)
    return net.answer(h).unflatten(-1, net.raw).unbind(-1)


def undo(net: CausalTransformer, z: Tensor, labels: Tensor | None, guidance: float) -> Tensor:
    """One flow step, from latent to data."""
    x, memory, null = z.clone(), Memory(), Memory()
    for t in range(z.shape[1] - 1):
        log_scale, shift = read(net, x[:, t : t + 1], labels, t, memory)
        if guidance:
            other_log_scale, other_shift = read(net, x[:, t : t + 1], None, t, null)
            log_scale = log_scale + guidance * (log_scale - other_log_scale)
            shift = shift + guidance * (shift - other_shift)
        x[:, t + 1 : t + 2] = z[:, t + 1 : t + 2] * log_scale.exp() + shift
    return x


@torch.no_grad()
def decode(flow: Flow, z: Tensor, labels: Tensor | None = None, guidance: float = 0.0) -> Tensor:
    """z -> x, of an unguided TarFlow; guided by class where `guidance` is not 0."""
    patches, *steps = flow.transform
    assert isinstance(patches, Patchify)
    for step in reversed(steps):
        flipped = isinstance(step, Permuted) and isinstance(step.order, Flip)
        inner = step.step if flipped else step
        assert isinstance(inner, Autoregressive)
        z = undo(inner.net, z.flip(1) if flipped else z, labels, guidance)
        z = z.flip(1) if flipped else z
    return patches.inverse(z)[0]

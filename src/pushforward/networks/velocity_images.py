"""Velocity networks of images: a transformer over patches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.networks.attention import check_heads
from pushforward.networks.velocity import WAVES, Velocity, waves
from pushforward.plain import computes_in
from pushforward.randomness import normal
from pushforward.shapes import Events, PerSample, patchify, unpatchify


class TimeEmbedding(nn.Module):
    """swish of a linear map of `waves`, plus the encoded context: (batch,) or (batch, times) -> (batch, width)."""

    def __init__(self, width: int, *, times: int = 1, context_encoder: nn.Module | None = None):
        super().__init__()
        self.linear, self.context_encoder = nn.Linear(times * WAVES, width), context_encoder

    def forward(self, t: Tensor, context: Context | None = None) -> Tensor:
        e = self.linear(waves(t).to(computes_in(self.linear)))
        return F.silu(e if self.context_encoder is None else e + self.context_encoder(context))


class VelocityViT(Velocity):
    """A transformer over patches of `patch` × `patch` pixels: (batch, channels, height, width) -> the same.

    Each layer's norms are shifted and scaled, and its branches gated, by linear maps of the embedded time and context,
    which begin at zero, as does the output. Peebles & Xie 2023 (DiT, "adaLN-Zero"), arXiv:2212.09748.

    >>> net = VelocityViT((1, 8, 8), patch=2, width=16, depth=2, heads=2)
    >>> net(torch.zeros(5, 1, 8, 8), torch.zeros(5)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int = 1,
        times: int = 1,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        channels, *size = image
        if patch < 1 or any(side % patch for side in size):
            raise ValueError(f"patches of {patch} × {patch} pixels do not divide an image of {size[0]} × {size[1]}.")
        self.patch, self.grid = patch, [side // patch for side in size]
        features = channels * patch**2
        self.embedding = TimeEmbedding(width, times=times, context_encoder=context_encoder)
        self.read = nn.Linear(features, width)
        self.positions = nn.Parameter(normal(width**-0.5, math.prod(self.grid), width))
        self.layers = nn.ModuleList(ModulatedLayer(width, heads) for _ in range(depth))
        self.answer = zeroed(nn.Linear(width, features))

    @property
    def context_encoder(self) -> nn.Module | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.embedding.context_encoder

    def forward(self, x: Events, t: PerSample, context: Context | None = None) -> Events:
        e = self.embedding(t, context)
        tokens = patchify(x, self.patch).flatten(1, 2)
        h = self.read(tokens.to(computes_in(self.read))) + self.positions
        for layer in self.layers:
            h = layer(h, e)
        return unpatchify(self.answer(normalised(h)).unflatten(1, self.grid), self.patch)


class ModulatedLayer(nn.Module):
    """Attention, then an MLP, whose norms and gates depend on e: (B, T, W), (B, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.qkv, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(e)[:, None].chunk(6, 2)
        h = h + gate * self.attention((1 + scale) * normalised(h) + shift)
        return h + gate2 * self.mlp((1 + scale2) * normalised(h) + shift2)

    def attention(self, h: Tensor) -> Tensor:
        """Written out: fused attention has no forward-mode derivative, which divergences need."""
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(h).chunk(3, 2))
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.joined((weights @ v).transpose(1, 2).flatten(2))


def normalised(h: Tensor, dims: tuple[int, ...] = (-1,)) -> Tensor:
    """h with mean 0 and deviation 1 over these dimensions: `F.layer_norm`, written out.

    Where torch differentiates layer_norm in forward mode and then in reverse, as training by an exact divergence does,
    the gradient is wrong, without an error (torch 2.13).
    """
    centred = h - h.mean(dims, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + 1e-5)


@dataclass(frozen=True, kw_only=True)
class ViTOptions:
    """The configuration of a `VelocityViT`."""

    patch: int = 2  # side of a patch, in pixels
    width: int = 256
    depth: int = 8
    heads: int = 4

    def build(
        self, image: tuple[int, int, int], context_encoder: Callable[[int], nn.Module | None], *, times: int = 1
    ) -> VelocityViT:
        return VelocityViT(image, **vars(self), times=times, context_encoder=context_encoder(self.width))

    def small(self) -> ViTOptions:
        return replace(self, width=8, depth=1, heads=1)

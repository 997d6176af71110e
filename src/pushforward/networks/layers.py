"""Transformer layers with the options of present language models, and causal transformers of them."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.initialization import zeroed
from pushforward.networks.attention import heads_for
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.positions import Positions
from pushforward.networks.transformer import Attention, Layer
from pushforward.plain import computes_in
from pushforward.randomness import normal
from pushforward.shapes import Tokens


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """What the layers of a transformer are made of.

    Attention has heads of `head` features. With `key_heads` keys and values have fewer heads than queries, and groups
    of queries share them (Ainslie et al. 2023, arXiv:2305.13245). `norm` is layer norm, or RMS norm (`RMSNorm`).
    `qk_norm` normalises queries and keys by RMS, `post_norm` what a layer adds to the residual stream. A `gated` MLP is
    down(f(gate(h)) · up(h)) (Shazeer 2020, arXiv:2002.05202), another is down(gelu(up(h))), of `hidden` features; f is
    GELU, or with `silu` h · sigmoid(h).
    """

    head: int = 64
    key_heads: int | None = None  # None: as many as queries
    norm: Literal["layer", "rms"] = "layer"
    qk_norm: bool = False
    post_norm: bool = False
    bias: bool = True
    gated: bool = False
    silu: bool = False
    hidden: int | None = None  # None: four times the width
    rms_eps: float = 1e-6  # added to the mean square

    def __post_init__(self):
        if self.norm not in ("layer", "rms"):
            raise ValueError(f'the norm of a layer is "layer" or "rms"; got norm={self.norm!r}.')
        if self.silu and not self.gated:
            raise ValueError("silu=True is of a gated MLP: give gated=True too.")

    def heads(self, width: int) -> int:
        """The number of heads of a residual stream of this width."""
        return heads_for(width, self.head)

    def normalisation(self, width: int) -> nn.Module:
        """The norm of the residual stream."""
        return nn.LayerNorm(width) if self.norm == "layer" else RMSNorm(width, eps=self.rms_eps)


class RMSNorm(nn.Module):
    """h / rms(h) · (1 + weight) over the last axis, computed in float32. Zhang & Sennrich 2019, arXiv:1910.07467."""

    def __init__(self, width: int, *, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        wide = h.to(torch.promote_types(h.dtype, torch.float32))
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * (1 + self.weight)).to(h.dtype)


class GroupedAttention(Attention):
    """Attention with these options: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, options: LayerOptions, *, causal: bool = True):
        nn.Module.__init__(self)
        self.heads, self.causal = options.heads(width), causal
        self.key_heads = options.key_heads or self.heads
        if self.heads % self.key_heads:
            raise ValueError(f"groups of {self.heads} query heads share {self.key_heads} key heads: choose a divisor.")
        head, self.grouped = width // self.heads, self.heads != self.key_heads
        self.norm = options.normalisation(width)
        self.qkv = nn.Linear(width, (self.heads + 2 * self.key_heads) * head, bias=options.bias)
        self.out = nn.Linear(width, width, bias=options.bias)
        self.query_norm = RMSNorm(head) if options.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(head) if options.qk_norm else nn.Identity()
        self.post_norm = options.normalisation(width) if options.post_norm else nn.Identity()

    def projected(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = (self.heads, self.key_heads, self.key_heads)
        q, k, v = self.qkv(h).unflatten(-1, (sum(sizes), -1)).transpose(1, 2).split(sizes, 1)
        return self.query_norm(q), self.key_norm(k), v

    def joined(self, h: Tensor) -> Tensor:
        return self.post_norm(self.out(h))


class MLP(nn.Module):
    """down(gelu(up(norm(h)))), or gated: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, options: LayerOptions):
        super().__init__()
        hidden, self.silu = options.hidden or 4 * width, options.silu
        self.norm = options.normalisation(width)
        self.gate = nn.Linear(width, hidden, bias=options.bias) if options.gated else None
        self.up = nn.Linear(width, hidden, bias=options.bias)
        self.down = nn.Linear(hidden, width, bias=options.bias)
        self.post_norm = options.normalisation(width) if options.post_norm else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        h = self.norm(h)
        if self.gate is None:
            return self.post_norm(self.down(F.gelu(self.up(h))))
        gate = F.silu(self.gate(h)) if self.silu else F.gelu(self.gate(h), approximate="tanh")
        return self.post_norm(self.down(gate * self.up(h)))


class GroupedLayer(Layer):
    """Attention, then an MLP, each added to the residual stream: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, options: LayerOptions, *, causal: bool = True):
        nn.Module.__init__(self)
        self.attention = GroupedAttention(width, options, causal=causal)
        self.mlp = MLP(width, options)


class GroupedTransformer(CausalNetwork):
    """What causal transformers of `GroupedLayer`s have in common.

    A learned first token, in the space of x, which stands before x_0; a linear map of tokens into the residual stream;
    layers; an RMS norm; and a linear map to raw parameters, which is zero at the start.
    """

    def __init__(
        self, features: int, raw: tuple[int, ...], positions: Positions, width: int, depth: int, options: LayerOptions
    ):
        super().__init__()
        self.token, self.raw, self.head = (features,), raw, width // options.heads(width)
        positions.rotation(0, 1, self.head, torch.device("cpu"))  # raises if it cannot rotate heads
        self.positions = positions
        self.first = nn.Parameter(normal(1, features))
        self.read = nn.Linear(features, width)
        self.layers = nn.ModuleList(GroupedLayer(width, options) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.answer = zeroed(nn.Linear(width, math.prod(raw)))

    def embedded(self, x: Tokens) -> Tensor:
        """Tokens (…, D) -> what the residual stream reads, (…, W)."""
        return self.read(x.to(computes_in(self.read)))

    def answers(self, states: Tensor) -> Tensor:
        """States (…, W) -> raw parameters of the token after each, (…, *raw)."""
        return self.answer(states).unflatten(-1, self.raw)

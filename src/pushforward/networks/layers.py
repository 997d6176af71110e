"""A transformer layer with the options of present language models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.networks.positions import Rotation
from pushforward.networks.transformer import Recall


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """What the layers of a transformer are made of.

    Attention has heads of `head` features. With `key_heads` keys and values have fewer heads than queries, and groups
    of queries share them (Ainslie et al. 2023, arXiv:2305.13245). `norm` is layer norm, or RMS norm (`RMSNorm`).
    `qk_norm` normalises queries and keys by RMS, `post_norm` what a layer adds to the residual stream. A `gated` MLP is
    down(gelu(gate(h)) · up(h)) (Shazeer 2020, arXiv:2002.05202), another is down(gelu(up(h))).
    """

    head: int = 64
    key_heads: int | None = None  # None: as many as queries
    norm: Literal["layer", "rms"] = "layer"
    qk_norm: bool = False
    post_norm: bool = False
    bias: bool = True
    gated: bool = False
    expansion: float = 4  # width of the MLP over that of the residual stream

    def heads(self, width: int) -> int:
        """The number of heads of a residual stream of this width: one where a head does not divide it."""
        return 1 if width % self.head else width // self.head

    def normalisation(self, width: int) -> nn.Module:
        """The norm of the residual stream."""
        return nn.LayerNorm(width) if self.norm == "layer" else RMSNorm(width)


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


class GroupedAttention(nn.Module):
    """Multi-head self-attention, (B, T, W) -> (B, T, W): a token attends to itself and to those before it.

    With `causal=False` it attends to all tokens, or to those where `mask` (T, T) is True. `temperature` (B,) divides
    each row's logits; `rotation` rotates queries and keys. `recall` takes keys and values of h, and returns them
    preceded by those of earlier tokens.
    """

    def __init__(self, width: int, options: LayerOptions, *, causal: bool = True):
        super().__init__()
        self.heads, self.causal = options.heads(width), causal
        self.key_heads = options.key_heads or self.heads
        if self.heads % self.key_heads:
            raise ValueError(f"groups of {self.heads} query heads share {self.key_heads} key heads: choose a divisor.")
        head = width // self.heads
        self.norm = options.normalisation(width)
        self.qkv = nn.Linear(width, (self.heads + 2 * self.key_heads) * head, bias=options.bias)
        self.out = nn.Linear(width, width, bias=options.bias)
        self.query_norm = RMSNorm(head) if options.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(head) if options.qk_norm else nn.Identity()
        self.post_norm = options.normalisation(width) if options.post_norm else nn.Identity()

    def forward(
        self,
        h: Tensor,
        temperature: Tensor | None = None,
        rotation: Rotation | None = None,
        recall: Recall | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        sizes = (self.heads, self.key_heads, self.key_heads)
        heads = self.qkv(self.norm(h)).unflatten(-1, (sum(sizes), -1)).transpose(1, 2)  # (B, heads, T, W/H)
        q, k, v = heads.split(sizes, 1)
        q, k = self.query_norm(q), self.key_norm(k)
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        if temperature is not None:
            q = q / temperature[:, None, None, None].to(q.dtype)
        causal = self.causal
        if recall is not None:
            k, v = recall(k, v)
            new, seen = q.shape[-2], k.shape[-2]
            causal = causal and new == seen
            if 1 < new < seen:
                mask = torch.ones(new, seen, dtype=torch.bool, device=q.device).tril(seen - new)
        grouped = self.heads != self.key_heads
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)
        return self.post_norm(self.out(h.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """down(gelu(up(norm(h)))), or gated: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, options: LayerOptions):
        super().__init__()
        hidden = int(options.expansion * width)
        self.norm = options.normalisation(width)
        self.gate = nn.Linear(width, hidden, bias=options.bias) if options.gated else None
        self.up = nn.Linear(width, hidden, bias=options.bias)
        self.down = nn.Linear(hidden, width, bias=options.bias)
        self.post_norm = options.normalisation(width) if options.post_norm else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        h = self.norm(h)
        h = F.gelu(self.up(h)) if self.gate is None else F.gelu(self.gate(h), approximate="tanh") * self.up(h)
        return self.post_norm(self.down(h))


class GroupedLayer(nn.Module):
    """Attention, then an MLP, each added to the residual stream: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, options: LayerOptions, *, causal: bool = True):
        super().__init__()
        self.attention = GroupedAttention(width, options, causal=causal)
        self.mlp = MLP(width, options)

    def forward(
        self,
        h: Tensor,
        temperature: Tensor | None = None,
        rotation: Rotation | None = None,
        recall: Recall | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        h = h + self.attention(h, temperature, rotation, recall, mask)
        return h + self.mlp(h)

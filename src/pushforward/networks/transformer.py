"""A causal transformer: parameters for token t from the tokens before t.

Pre-norm layers, h <- h + attention(norm(h)), h <- h + mlp(norm(h)), with GELU and an expansion of four. A layer sees
each token and those before it; the answers are shifted right by one, so that token t's is read off token t − 1, and
the first token's is zero. Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.context import Context
from pushforward.kernels import transformer as kernel
from pushforward.networks.cache import Cache
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.plain import is_plain
from pushforward.shapes import Tokens

Recall = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # new keys and values -> all so far


class Attention(nn.Module):
    """Multi-head self-attention: (B, T, W) -> (B, T, W). If it is causal, tokens see themselves and those before them.

    `temperature` (B,) divides each row's logits. With `recall`, h continues the tokens that it remembers.
    """

    def __init__(self, width: int, heads: int, *, causal: bool = True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, temperature: Tensor | None = None, recall: Recall | None = None) -> Tensor:
        qkv = self.qkv(self.norm(h)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, W/H)
        if temperature is not None:
            q = q / temperature[:, None, None, None].to(q.dtype)
        if recall is not None:
            k, v = recall(k, v)
        new, seen = q.shape[-2], k.shape[-2]
        mask = None
        if 1 < new < seen:
            mask = torch.ones(new, seen, dtype=torch.bool, device=q.device).tril(seen - new)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal and new == seen)
        return self.out(h.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention, then an MLP, each added to the residual stream: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int, *, causal: bool = True):
        super().__init__()
        self.attention = Attention(width, heads, causal=causal)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor, temperature: Tensor | None = None, recall: Recall | None = None) -> Tensor:
        h = h + self.attention(h, temperature, recall)
        return h + self.mlp(h)


MLP = (nn.Sequential, nn.LayerNorm, nn.Linear, nn.GELU, nn.Linear)
KINDS = (Layer, Attention, nn.LayerNorm, nn.Linear, nn.Linear, *MLP)  # the parts of a layer, in the order of modules()


class CausalTransformer(CausalNetwork):
    """(B, T, D) -> (B, T, *raw): raw parameters of shape `raw` for each token, from the tokens before it.

    `project` turns the context into a vector that is added to every token; without it the context is ignored. At the
    start the answer is zero, which for an elementwise move is the identity.
    """

    attends = True

    def __init__(
        self,
        features: int,
        raw: tuple[int, ...],
        *,
        tokens: int,
        width: int,
        depth: int,
        heads: int = 1,
        project: nn.Module | None = None,
    ):
        super().__init__()
        self.tokens, self.raw = tokens, raw
        self.read = nn.Linear(features, width)
        self.positions = nn.Parameter(0.01 * torch.randn(tokens, width))
        self.project = project
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.answer = nn.Linear(width, math.prod(raw))
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def start(self, context: Context | None = None) -> Cache:
        return Cache(len(self.layers), self.tokens)

    def forward(self, x: Tokens, context: Context | None = None, cache: Cache | None = None) -> Tensor:
        if cache is None:
            return F.pad(self._next(x[:, :-1], context), (0, 0) * len(self.raw) + (1, 0))
        if cache.unread:
            cache.kernel = self._kernel(len(x), context)
        if cache.kernel is not None:
            answers = cache.kernel.read(x)
            cache.length = cache.kernel.length
            return answers.view(*answers.shape[:2], *self.raw)
        return cache.answer(self._next(x, context, cache))

    def _kernel(self, rows: int, context: Context | None) -> kernel.TransformerDecoder | None:
        """The compiled decoder of `rows` sequences; None where it may not serve."""
        if torch.is_grad_enabled() or kernel.serving.recorded():
            return None
        weights = self._weights()
        if weights is None or not kernel.serves(weights, rows):
            return None
        added = None if self.project is None else self.project(context)
        return kernel.TransformerDecoder(
            weights, rows, added, None if context is None else context.attention_temperature
        )

    def _weights(self) -> kernel.Weights | None:
        """The tensors of the layers, where they are those of this file, unchanged and unwatched."""
        layers: list[Any] = list(self.layers)
        if not all(is_plain(layer, *KINDS) for layer in layers) or not (
            is_plain(self.read, nn.Linear) and is_plain(self.answer, nn.Linear)
        ):
            return None
        heads = layers[0].attention.heads
        if any(layer.attention.heads != heads or layer.mlp[2].approximate != "none" for layer in layers):
            return None
        linears = [
            self.read,
            self.answer,
            *(part for layer in layers for part in layer.modules() if hasattr(part, "bias")),
        ]
        if any(part.weight is None or part.bias is None for part in linears):
            return None

        def linear(part: nn.Linear) -> kernel.Linear:
            return kernel.Linear(part.weight, part.bias)

        def norm(part: nn.LayerNorm) -> kernel.Norm:
            return kernel.Norm(part.weight, part.bias, part.eps)

        return kernel.Weights(
            linear(self.read),
            self.positions,
            [
                kernel.Layer(
                    norm(layer.attention.norm),
                    linear(layer.attention.qkv),
                    linear(layer.attention.out),
                    norm(layer.mlp[0]),
                    linear(layer.mlp[1]),
                    linear(layer.mlp[3]),
                )
                for layer in layers
            ],
            linear(self.answer),
            heads,
        )

    def _added(self, context: Context | None, cache: Cache | None) -> Tensor:
        """What the context adds to every token, (B, 1, W): projected once where there is a cache."""
        assert self.project is not None
        added = self.project(context)[:, None] if cache is None or cache.added is None else cache.added
        if cache is not None:
            cache.added = added
        return added

    def _next(self, x: Tokens, context: Context | None, cache: Cache | None = None) -> Tensor:
        """What each token says of the one after it: (B, T, D) -> (B, T, *raw)."""
        if x.shape[1] == 0:
            return self.answer.weight.new_zeros(len(x), 0, *self.raw)
        start = 0 if cache is None else cache.length
        h = self.read(x.to(self.read.weight.dtype)) + self.positions[start : start + x.shape[1]]
        if self.project is not None:
            h = h + self._added(context, cache)
        temperature = None if context is None else context.attention_temperature
        for i, layer in enumerate(self.layers):
            h = layer(h, temperature, None if cache is None else partial(cache.recall, i))
        return self.answer(h).unflatten(-1, self.raw)

"""A causal transformer: raw parameters for token t from the tokens before t.

Pre-norm layers, h <- h + attention(norm(h)), h <- h + mlp(norm(h)), with GELU and an expansion of four. Each token
attends to itself and to those before it. Outputs are shifted right by one token: those for token t come from token
t − 1, and those for the first token are zero. Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.kernels import transformer as kernel
from pushforward.networks import graph
from pushforward.networks.attention import attended, check_heads, heads_for
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.decoder import Buffer, Decoder, KernelDecoder
from pushforward.networks.graph import GraphDecoder, aligned
from pushforward.networks.memory import Memory
from pushforward.networks.positions import Learned, Positions, Rotary, Rotation
from pushforward.plain import computes_in, is_plain, is_unchanged, keeps_forward
from pushforward.recording import recorded
from pushforward.shapes import Tokens

Recall = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # new keys and values -> all so far


class Attention(nn.Module):
    """Multi-head self-attention: (B, T, W) -> (B, T, W). If causal, a token attends to itself and to those before it.

    `temperature` (B,) divides each row's logits; `rotation` rotates queries and keys. `recall` takes keys and values of
    h, and returns them preceded by those of earlier tokens. `mask`, (…, T, S) for S keys, is True where a query attends
    to a key, and takes the place of causality.
    """

    grouped = False  # whether groups of queries share keys and values

    def __init__(self, width: int, heads: int, *, causal: bool = True):
        super().__init__()
        check_heads(width, heads)
        self.heads, self.causal = heads, causal
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        h: Tensor,
        temperature: Tensor | None = None,
        rotation: Rotation | None = None,
        recall: Recall | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        q, k, v = self.projected(self.norm(h))
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        if temperature is not None:
            q = q / temperature[:, None, None, None].to(q.dtype)
        causal = self.causal and mask is None
        if recall is not None:
            k, v = recall(k, v)
            new, seen = q.shape[-2], k.shape[-2]
            causal = causal and bool(new == seen)  # a trace has tensors for sizes
            if mask is None and 1 < new < seen:
                mask = torch.ones(new, seen, dtype=torch.bool, device=q.device).tril(seen - new)
        grouped = self.grouped and shares_keys(q, mask)
        if self.grouped and not grouped:
            k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        h = attended(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)
        return self.joined(h.transpose(1, 2).flatten(2))

    def projected(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, H, T, W/H) each."""
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def joined(self, h: Tensor) -> Tensor:
        """The values of all heads -> what is added to the residual stream, (B, T, W)."""
        return self.out(h)


def shares_keys(q: Tensor, mask: Tensor | None) -> bool:
    """Whether torch has a fused kernel in which groups of queries share keys: on a GPU flash attention alone, which is
    of 16 bits and without a mask. Elsewhere torch would store all logits."""
    return not q.is_cuda or (mask is None and q.dtype in (torch.bfloat16, torch.float16))


class Layer(nn.Module):
    """Attention, then an MLP, each added to the residual stream: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int, *, causal: bool = True):
        super().__init__()
        self.attention = Attention(width, heads, causal=causal)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

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


def through(
    layers: nn.ModuleList,
    h: Tensor,
    temperature: Tensor | None = None,
    rotation: Rotation | None = None,
    recalls: Sequence[Recall | None] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The residual stream (B, n, W) after these layers; `recalls` has one function for each layer."""
    for layer, recall in zip(layers, recalls or [None] * len(layers), strict=True):
        h = layer(h, temperature, rotation, recall, mask)
    return h


PARTS = (  # of a layer, in the order of modules()
    *(Layer, Attention, nn.LayerNorm, nn.Linear, nn.Linear),
    *(nn.Sequential, nn.LayerNorm, nn.Linear, nn.GELU, nn.Linear),
)


class CausalTransformer(CausalNetwork):
    """(B, T, D) -> (B, T, *raw): raw parameters of shape `raw` for each token, from the tokens before it.

    `positions` encodes the places of tokens, and limits their number: `Learned(tokens, width)`, or `Rotary(None)` for
    sequences of any length. Heads have 64 features by default, or there is one where 64 does not divide the width.
    `context_encoder` turns the context into a vector that is added to every token; without it the context is ignored.
    At the start the output is zero, which for an elementwise move is the identity.

    >>> net = CausalTransformer(3, (3, 2), positions=Learned(16, 32), width=32, depth=2)
    >>> net(torch.zeros(5, 16, 3)).shape
    torch.Size([5, 16, 3, 2])
    """

    attends = True

    def __init__(
        self,
        features: int,
        raw: tuple[int, ...],
        *,
        positions: Positions,
        width: int,
        depth: int,
        heads: int | None = None,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        heads = heads or heads_for(width)
        positions.rotation(0, 1, width // heads, torch.device("cpu"))  # raises if it cannot rotate heads
        self.tokens, self.token, self.raw, self.head = positions.tokens, (features,), raw, width // heads
        self.positions = positions  # first: the order of parameters in saved optimisers
        self.read = nn.Linear(features, width)
        self.context_encoder, self.conditional = context_encoder, context_encoder is not None
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.answer = zeroed(nn.Linear(width, math.prod(raw)))

    def forward(
        self, x: Tokens, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Tensor:
        self.check_length(x)
        following = self._following(x[:, :-1], self._added(context), attention_temperature)
        return F.pad(following, (0, 0) * len(self.raw) + (1, 0))

    def start(
        self, rows: int, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Decoder:
        if not reads_token_by_token(self, CausalTransformer):
            return self.whole(rows, context, attention_temperature=attention_temperature)
        added, first = self._added(context), self._blank(rows, 1)
        weights = self._weights()
        if weights is not None and kernel.serves(weights, rows):
            decoder = kernel.TransformerDecoder(
                weights, rows, None if added is None else added[:, 0], attention_temperature
            )
            return KernelDecoder(decoder, self.raw, first.new_zeros(rows, 0, *self.token), self.tokens)
        if weights is not None and self.tokens is not None and graph.serves(*weights.tensors()):
            rotation = self.positions.rotation(0, aligned(self.tokens), self.head, first.device)
            memory = Memory(
                weights,
                (rows, self.tokens),
                self.raw,
                added=added,
                temperature=attention_temperature,
                rotation=rotation,
            )
            return GraphDecoder(memory.advance, first, self.tokens)
        following = partial(self._following, added=added, temperature=attention_temperature)
        return AttentionDecoder(following, KeysAndValues(len(self.layers), self.tokens), first, self.tokens)

    def _following(
        self,
        x: Tokens,
        added: Tensor | None,
        temperature: Tensor | None,
        start: int = 0,
        recalls: list[Recall] | None = None,
    ) -> Tensor:
        """Tokens at places start, start + 1, … -> raw parameters of the token after each: (B, n, D) -> (B, n, *raw).

        `recalls` has for each layer a function that adds the keys and values of the tokens before `start`.
        """
        if x.shape[1] == 0:
            return self._blank(x.shape[0], 0)
        h = self.positions(self.read(x.to(computes_in(self.read))), start)
        if added is not None:
            h = h + added
        rotation = self.positions.rotation(start, start + x.shape[1], self.head, h.device)
        return self.answer(through(self.layers, h, temperature, rotation, recalls)).unflatten(-1, self.raw)

    def _added(self, context: Context | None) -> Tensor | None:
        """The encoded context, which is added to every token, (B or 1, 1, W)."""
        return None if self.context_encoder is None else self.context_encoder(context)[:, None]

    def _blank(self, rows: int, tokens: int) -> Tensor:
        """Raw parameters of zero."""
        parameter = next(self.parameters())
        return torch.zeros(rows, tokens, *self.raw, dtype=computes_in(self.answer), device=parameter.device)

    def _weights(self) -> kernel.Weights | None:
        """All weights; None where gradients are needed or parts are hooked, wrapped or replaced."""
        if torch.is_grad_enabled() or recorded():
            return None
        layers: list[Any] = list(self.layers)
        plain = (
            is_plain(self.read, nn.Linear)
            and is_plain(self.answer, nn.Linear)
            and any(is_plain(self.positions, kind) for kind in (Learned, Rotary))
            and all(is_plain(layer, *PARTS) and layer.mlp[2].approximate == "none" for layer in layers)
        )
        if not plain or len({layer.attention.heads for layer in layers}) != 1:
            return None
        read, answer = (kernel.Linear(part.weight, part.bias) for part in (self.read, self.answer))
        positions: Any = self.positions
        added = positions.weight[positions.prefix :] if type(positions) is Learned else None
        weights = kernel.Weights(read, added, [*map(_layer_weights, layers)], answer, layers[0].attention.heads)
        return None if any(t is None for t in weights.tensors()) else weights


def _layer_weights(layer: Any) -> kernel.Layer:
    attention, (norm, up, _, down) = layer.attention, layer.mlp
    one, other = (kernel.Norm(part.weight, part.bias, part.eps) for part in (attention.norm, norm))
    qkv, out, up, down = (kernel.Linear(part.weight, part.bias) for part in (attention.qkv, attention.out, up, down))
    return kernel.Layer(one, qkv, out, other, up, down)


def reads_token_by_token(net: Any, kind: type[CausalNetwork]) -> bool:
    """Whether keys and values carry all of the past that the layers of `net`, of this kind, need: not if the attention
    of a layer was replaced, or if the network itself has hooks. All other parts may be hooked or replaced, since they
    are called."""
    return is_unchanged(net, kind) and all(
        keeps_forward(layer, Layer) and keeps_forward(layer.attention, Attention) for layer in net.layers
    )


class KeysAndValues:
    """Keys and values (B, H, n, W/H) of the tokens that a decoder has read, for each layer."""

    def __init__(self, depth: int, room: int | None = None):
        """Memory for `room` tokens is allocated at first."""
        self._buffers = [(Buffer(2, room or 16), Buffer(2, room or 16)) for _ in range(depth)]

    def recalls(self, start: int) -> list[Recall]:
        """For each layer a function that writes new ones at `start`, and returns all up to their end."""
        return [partial(_extended, pair, start) for pair in self._buffers]


def _extended(pair: tuple[Buffer, Buffer], start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    return pair[0].extend(keys, start), pair[1].extend(values, start)


class AttentionDecoder(Decoder):
    """Keeps, for each layer, the keys and values of `before` tokens of a prefix and of the tokens that were read."""

    kind = "tensors"

    def __init__(
        self,
        following: Callable[..., Tensor],
        memory: KeysAndValues,
        answer: Tensor,
        tokens: int | None,
        before: int = 0,
    ):
        super().__init__(answer, tokens)
        self._following, self._memory, self._before = following, memory, before

    def _read(self, x: Tensor) -> Tensor:
        return self._following(x, start=self.length, recalls=self._memory.recalls(self._before + self.length))

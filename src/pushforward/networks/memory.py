"""A causal transformer over memory of fixed size: what a graph of its decoding computes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.kernels.transformer import Layer, Linear, Norm, Weights
from pushforward.networks.graph import aligned
from pushforward.networks.positions import Rotation
from pushforward.shapes import multiplied_in, without_autocast


class Memory:
    """Keys and values (2, B, H, T, W / H) of each layer, and `advance`, which adds those of tokens and answers.

    Keys and values are in the dtype in which the network multiplies matrices: bfloat16 under such an autocast. So are
    the weights, which are cast once: later changes of those that were cast have no effect. `size` is (B, T); `added`
    (B or 1, 1, W) is the encoded context, `temperature` (B,) divides attention logits, `rotation` is that of all
    places.
    """

    def __init__(
        self,
        weights: Weights,
        size: tuple[int, int],
        raw: tuple[int, ...],
        *,
        added: Tensor | None,
        temperature: Tensor | None,
        rotation: Rotation | None,
    ):
        first, self.raw = weights.read.weight, raw
        self.dtype, self.heads, self.rotation = multiplied_in(first), weights.heads, rotation
        self.read, self.answer = self._cast(weights.read), self._cast(weights.answer)
        self.layers = [
            Layer(one, self._cast(qkv), self._cast(out), other, self._cast(up), self._cast(down))
            for one, qkv, out, other, up, down in weights.layers
        ]
        self.positions, self.added = weights.positions, added
        self.temperature = None if temperature is None else temperature[:, None, None, None].to(self.dtype)
        width = len(first)
        rows, tokens = size[0], aligned(size[1])
        shape = len(self.layers), 2, rows, self.heads, tokens, width // self.heads
        self.memory = torch.zeros(shape, dtype=self.dtype, device=first.device)  # no nan in what a mask leaves out
        self.places = torch.arange(tokens, device=first.device)

    def advance(self, x: Tensor, places: Tensor, length: int) -> Tensor:
        """Tokens (B, n, D) at `places` (n,) -> raw parameters of the token after each, (B, n, *raw).

        Each attends to itself and those before it, among the first `length`.
        """
        with without_autocast(x):
            h = self._linear(x, self.read)
            if self.positions is not None:
                h = h + self.positions.index_select(0, places)
            if self.added is not None:
                h = h + self.added
            rotation = self.rotation and Rotation(*(angles.index_select(0, places) for angles in self.rotation))
            later = self.places[:length] > places[:, None]
            mask = torch.zeros(later.shape, dtype=self.dtype, device=x.device).masked_fill(later, -torch.inf)
            for layer, memory in zip(self.layers, self.memory, strict=True):
                h = h + self._attention(layer, h, memory, places, mask, rotation)
                h = h + self._linear(F.gelu(self._linear(_normed(h, layer.norm2), layer.up)), layer.down)
            return self._linear(h, self.answer).unflatten(-1, self.raw)

    def _attention(
        self, layer: Layer, h: Tensor, memory: Tensor, places: Tensor, mask: Tensor, rotation: Rotation | None
    ) -> Tensor:
        qkv = self._linear(_normed(h, layer.norm1), layer.qkv).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            qkv = torch.cat([rotation(qkv[:2]), qkv[2:]])
        q = qkv[0] if self.temperature is None else qkv[0] / self.temperature
        memory.index_copy_(3, places, qkv[1:])
        keys, values = memory[..., : mask.shape[1], :]
        seen = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return self._linear(seen.transpose(1, 2).flatten(2), layer.out)

    def _cast(self, linear: Linear) -> Linear:
        return Linear(linear.weight.to(self.dtype), linear.bias.to(self.dtype))

    def _linear(self, h: Tensor, linear: Linear) -> Tensor:
        return F.linear(h.to(self.dtype), linear.weight, linear.bias)


def _normed(h: Tensor, norm: Norm) -> Tensor:
    return F.layer_norm(h, norm.weight.shape, norm.weight, norm.bias, norm.epsilon)

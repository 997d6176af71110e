"""A causal transformer as a processor decodes with it: weights packed once, keys and values of the tokens fed so far.

The answers are the network's own: what `transformer.py` says in tensor operations, each too small to be worth its call,
`kernel.cpp` says in loops. A linear map is stored as (panel, input, output in the panel), in the type that the network
computes in, bfloat16 under autocast.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_int64, c_void_p
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.networks.kernel import load

if TYPE_CHECKING:
    from pushforward.networks.transformer import CausalTransformer

PANEL = 256  # bytes that a panel's sums take: VECTORS · BYTES in kernel.cpp


class Packed:
    """The weights of `net` in the kernel's order, with room for the keys, values and answers of `rows` sequences.

    Weights that change later are not seen, and no gradients pass.
    """

    def __init__(self, net: CausalTransformer, rows: int, context: Context | None, temperature: Tensor | None = None):
        tokens, width = net.positions.shape
        self.storage = storage(net.positions)
        self.dtype = torch.promote_types(self.storage, torch.float32)
        self.pointed_at: list[Tensor] = []  # the kernel holds pointers, and these the memory
        capacity = 16 * (-(-tokens // 16) | 1)  # an odd number of cache lines: columns do not collide
        memory = net.positions.new_empty(len(net.layers), 2, rows * width * capacity, dtype=self.dtype)
        layers: Any = [self._layer(*each) for each in zip(net.layers, memory, strict=True)]
        added = net.positions.new_zeros(width) if net.context_encoder is None else net.context_encoder(context)
        attention: Any = net.layers[0].attention
        self.answers = net.positions.new_zeros(rows, tokens + 1, *net.raw, dtype=self.dtype)
        self.network = NetworkStruct(
            *(rows, tokens, width, attention.heads, len(layers), capacity, torch.get_num_threads()),
            *(self._point(added.expand(rows, width)), self._point(net.positions)),
            *(None if temperature is None else self._point(temperature.expand(rows)), self._point(self.answers)),
            *(self._linear(linear) for linear in (net.read, net.answer)),
            *((LayerStruct * len(layers))(*layers), attention.norm.eps),
        )
        self.feed = getattr(load(), f"feed_{self.storage}".replace("torch.", ""))
        self.feed.argtypes = [c_void_p, c_void_p, c_int64, c_int64]

    def answer(self, x: Tensor, start: int) -> Tensor:
        """Read x (B, n, D) as the tokens from `start`; answer them and the next, (B, n + 1, *raw)."""
        assert not torch.is_grad_enabled(), "a cache that was first fed without gradients goes on without"
        stop, room = start + x.shape[1], (len(self.answers), self.answers.shape[1] - 1, self.network.read.inputs)
        if not x.is_cpu or x.shape[::2] != room[::2] or stop > room[1]:  # the kernel would read what is not there
            raise ValueError(
                f"there is room for tokens {room} on the CPU; got {tuple(x.shape)} from {start} on {x.device}."
            )
        if start < stop:
            x = x.to(self.dtype).contiguous()
            self.feed(ctypes.byref(self.network), x.data_ptr(), stop - start, start)
        return self.answers[:, start : stop + 1].clone()  # a copy: what follows may write over them

    def _layer(self, layer: Any, memory: Tensor) -> LayerStruct:
        attention, (norm, up, _, down) = layer.attention, layer.mlp
        return LayerStruct(
            *(self._point(t) for t in (attention.norm.weight, attention.norm.bias, norm.weight, norm.bias)),
            *(self._linear(linear) for linear in (attention.qkv, attention.out, up, down)),
            *(self._point(half) for half in memory),
        )

    def _linear(self, linear: nn.Linear) -> LinearStruct:
        size, pair = PANEL // self.dtype.itemsize, self.dtype.itemsize // self.storage.itemsize
        outputs, inputs = linear.weight.shape
        panels, depth = -(-outputs // size), -(-inputs // pair)
        missing = panels * size - outputs
        weight = nn.functional.pad(linear.weight, (0, inputs % pair, 0, missing))
        bias = nn.functional.pad(linear.bias, (0, missing))
        packed = weight.reshape(panels, size, depth, pair).transpose(1, 2)
        return LinearStruct(self._point(packed, self.storage), self._point(bias), inputs, outputs)

    def _point(self, tensor: Tensor, dtype: torch.dtype | None = None) -> int:
        tensor = tensor.to(dtype or self.dtype).contiguous()
        self.pointed_at.append(tensor)
        return tensor.data_ptr()


def storage(weight: Tensor) -> torch.dtype:
    """What the weights of a linear map are read in: autocast's type where it is on."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype


class LinearStruct(ctypes.Structure):
    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("inputs", c_int64), ("outputs", c_int64)]


class LayerStruct(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("norm1", "shift1", "norm2", "shift2")),
        *((name, LinearStruct) for name in ("qkv", "out", "up", "down")),
        *((name, c_void_p) for name in ("keys", "values")),
    ]


class NetworkStruct(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "tokens", "width", "heads", "depth", "capacity", "threads")),
        *((name, c_void_p) for name in ("added", "positions", "temperature", "answers")),
        *((name, LinearStruct) for name in ("read", "answer")),
        *(("layers", POINTER(LayerStruct)), ("epsilon", c_double)),
    ]

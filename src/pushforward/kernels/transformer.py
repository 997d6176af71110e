"""A causal transformer, decoded token by token: `transformer.cpp`.

Pre-norm layers with GELU, as in networks/transformer.py. A decoder keeps keys and values of the tokens that were read.
It copies the weights once, into the order in which the kernel reads them: (panel, input, output in the panel), in the
dtype in which the network computes, bfloat16 under autocast.
"""

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_double, c_int64, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.kernels import serving
from pushforward.kernels.build import function, library
from pushforward.recording import recorded
from pushforward.shapes import multiplied_in

STORED = (torch.float32, torch.float64, torch.bfloat16)  # dtypes of the copied weights


class LinearStruct(ctypes.Structure):
    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("inputs", c_int64), ("outputs", c_int64)]


class NormStruct(ctypes.Structure):
    _fields_ = [("scale", c_void_p), ("shift", c_void_p), ("epsilon", c_double)]


class LayerStruct(ctypes.Structure):
    _fields_ = [
        *((name, NormStruct) for name in ("norm1", "norm2")),
        *((name, LinearStruct) for name in ("qkv", "out", "up", "down")),
        *((name, c_void_p) for name in ("keys", "values")),
    ]


class NetworkStruct(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "tokens", "width", "heads", "depth", "capacity", "threads")),
        *((name, c_void_p) for name in ("added", "positions", "temperature", "answers")),
        *((name, LinearStruct) for name in ("read", "answer")),
        ("layers", POINTER(LayerStruct)),
    ]


FEED = (c_void_p, c_void_p, c_int64, c_int64)  # what the function takes
STRUCTS = (LinearStruct, NormStruct, LayerStruct, NetworkStruct)


class Linear(NamedTuple):
    """A linear map: weight (outputs, inputs) and bias (outputs)."""

    weight: Tensor
    bias: Tensor


class Norm(NamedTuple):
    """A layer norm over W features."""

    weight: Tensor
    bias: Tensor
    epsilon: float


class Layer(NamedTuple):
    """h <- h + out(attention(qkv(norm1(h)))), then h <- h + down(gelu(up(norm2(h)))), with 4 · W hidden units."""

    norm1: Norm
    qkv: Linear
    out: Linear
    norm2: Norm
    up: Linear
    down: Linear


class Weights(NamedTuple):
    """A transformer: h = read(x) + positions (T, W), then layers of `heads` heads each, then answer(h).

    The kernel needs positions; where they are rotations, they are None.
    """

    read: Linear
    positions: Tensor | None
    layers: Sequence[Layer]
    answer: Linear
    heads: int

    def tensors(self) -> Iterator[Tensor]:
        if self.positions is not None:
            yield self.positions
        for part in (self.read, self.answer, *(part for layer in self.layers for part in layer)):
            yield from part[:2]


def serves(weights: Weights, rows: int) -> bool:
    """Whether the kernel may decode `rows` sequences. It has no gradients."""
    if weights.positions is None or recorded() or torch.is_grad_enabled():
        return False
    tokens, width = weights.positions.shape
    return (
        12 * width**2 * len(weights.layers) * tokens * rows >= serving.LEAST["transformer"]
        and serving.are_plain(*weights.tensors(), dtypes=STORED)
        and multiplied_in(weights.positions) in STORED
        and _fit(weights)
        and library("transformer", STRUCTS) is not None
    )


def _fit(weights: Weights) -> bool:
    """Whether sizes match: else the kernel would read outside the tensors."""
    width = len(weights.read.weight)
    linears = [(weights.read, width, weights.read.weight.shape[1]), (weights.answer, len(weights.answer.bias), width)]
    norms = []
    for layer in weights.layers:
        linears += [(layer.qkv, 3 * width, width), (layer.out, width, width)]
        linears += [(layer.up, 4 * width, width), (layer.down, width, 4 * width)]
        norms += [layer.norm1, layer.norm2]
    return (
        width % weights.heads == 0
        and all(linear.weight.shape == (m, n) and linear.bias.shape == (m,) for linear, m, n in linears)
        and all(norm.weight.shape == norm.bias.shape == (width,) for norm in norms)
    )


class TransformerDecoder:
    """Decodes `rows` sequences. `length` is the number of tokens that were read.

    `added` (rows or 1, W) is the encoded context, added to every token; `temperature` (rows or 1) divides attention
    logits. Later changes of the weights have no effect.
    """

    def __init__(self, weights: Weights, rows: int, added: Tensor | None = None, temperature: Tensor | None = None):
        positions, outputs = weights.positions, len(weights.answer.bias)
        assert positions is not None
        tokens, width = positions.shape
        self.rows, self.tokens, self.length = rows, tokens, 0
        self._inputs = weights.read.weight.shape[1]
        self.stored = multiplied_in(positions)
        self.dtype = torch.promote_types(self.stored, torch.float32)
        self._kept: list[Tensor] = []  # the tensors to which the structs' pointers point
        built: Any = library("transformer", STRUCTS)
        self._panel = built.panel_bytes() // self.dtype.itemsize  # outputs that a linear map computes together
        capacity = 16 * (-(-tokens // 16) | 1)  # an odd number of cache lines: columns do not collide
        memory = positions.new_empty(len(weights.layers), 2, rows * width * capacity, dtype=self.dtype)
        layers = [self._layer(*each) for each in zip(weights.layers, memory, strict=True)]
        added = positions.new_zeros(width) if added is None else added
        self._answers = positions.new_zeros(rows, tokens + 1, outputs, dtype=self.dtype)
        self._network = NetworkStruct(
            *(rows, tokens, width, weights.heads, len(layers), capacity, torch.get_num_threads()),
            *(self._point(added.expand(rows, width)), self._point(positions)),
            *(None if temperature is None else self._point(temperature.expand(rows)), self._point(self._answers)),
            *(self._linear(linear) for linear in (weights.read, weights.answer)),
            (LayerStruct * len(layers))(*layers),
        )
        self._network_at = byref(self._network)
        self._feed = function("transformer", "feed", self.stored, STRUCTS, FEED)

    def read(self, x: Tensor) -> Tensor:
        """Read x (rows, n, D), the next tokens; return raw parameters of these and the next, (rows, n + 1, outputs)."""
        assert not torch.is_grad_enabled(), "a decoder that was started without gradients has none"
        start, stop = self.length, self.length + x.shape[1]
        room = self.rows, self.tokens, self._inputs
        if not x.is_cpu or x.shape[::2] != room[::2] or stop > self.tokens:  # the kernel would read outside x
            raise ValueError(
                f"there is room for tokens {room} on the CPU; got {tuple(x.shape)} from {start} on {x.device}."
            )
        if start < stop:
            x = x.to(self.dtype).contiguous()
            self._feed(self._network_at, x.data_ptr(), stop - start, start)
        self.length = stop
        return self._answers[:, start : stop + 1].clone()  # a copy: a read after truncate overwrites them

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        assert 0 <= length <= self.length, f"cannot truncate {self.length} tokens to {length}"
        self.length = length

    def _layer(self, layer: Layer, memory: Tensor) -> LayerStruct:
        norms = (NormStruct(self._point(n.weight), self._point(n.bias), n.epsilon) for n in (layer.norm1, layer.norm2))
        linears = (self._linear(linear) for linear in (layer.qkv, layer.out, layer.up, layer.down))
        return LayerStruct(*norms, *linears, *(self._point(half) for half in memory))

    def _linear(self, linear: Linear) -> LinearStruct:
        size, pair = self._panel, self.dtype.itemsize // self.stored.itemsize
        outputs, inputs = linear.weight.shape
        panels, depth = -(-outputs // size), -(-inputs // pair)
        missing = panels * size - outputs
        weight = F.pad(linear.weight, (0, inputs % pair, 0, missing)).reshape(panels, size, depth, pair).transpose(1, 2)
        bias = F.pad(linear.bias, (0, missing))
        return LinearStruct(self._point(weight, self.stored), self._point(bias), inputs, outputs)

    def _point(self, tensor: Tensor, dtype: torch.dtype | None = None) -> int:
        tensor = tensor.to(dtype or self.dtype).contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()

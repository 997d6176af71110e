"""A masked perceptron with ReLUs, decoded feature by feature: `masked.cpp`.

Once a feature is known, the hidden units that read no later feature are computed, each once. One call of the kernel for
each feature takes the place of two dozen small tensor operations.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_int64, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.kernels import serving
from pushforward.kernels.build import function, library
from pushforward.recording import recorded


class Layer(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "added", "values", "known")),
        *((name, c_int64) for name in ("units", "inputs", "skips")),
    ]


class Network(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "tokens", "raw", "depth", "threads")),
        ("layers", POINTER(Layer)),
    ]


STRUCTS = (Layer, Network)
LEARN = (c_void_p, c_void_p, *[c_int64] * 3, c_void_p)  # what the function takes


class Weights(NamedTuple):
    """A masked perceptron: (masked weight, bias) of each linear map, the output map last; whether it is residual.

    known[k][t] is how many units of layer k are known once t features are; layer 0 has the features themselves.
    """

    maps: Sequence[tuple[Tensor, Tensor]]
    known: Sequence[Sequence[int]]
    residual: bool


def serves(weights: Weights, rows: int) -> bool:
    """Whether the kernel may decode `rows` vectors. It has no gradients."""
    if recorded() or serving.autocasts() or torch.is_grad_enabled():
        return False
    return (
        rows * sum(weight.numel() for weight, _ in weights.maps) >= serving.LEAST["masked"]
        and serving.are_plain(*(t for pair in weights.maps for t in pair))
        and _fit(weights)
        and library("masked", STRUCTS) is not None
    )


def _fit(weights: Weights) -> bool:
    """Whether sizes match: else the kernel would read outside the tensors."""
    inputs = weights.known[0][-1]
    for (weight, bias), known in zip(weights.maps, (*weights.known[1:], None), strict=True):
        if weight.shape != (bias.shape[0], inputs) or (known is not None and known[-1] > bias.shape[0]):
            return False
        inputs = bias.shape[0]
    return inputs % weights.known[0][-1] == 0


class MaskedDecoder:
    """Decodes `rows` vectors. `length` is the number of features that were read.

    `added` (rows or 1, units of the first layer) is the encoded context. Later changes of the weights have no effect.
    """

    def __init__(self, weights: Weights, rows: int, added: Tensor | None = None):
        maps, known = weights.maps, weights.known
        self.rows, self.features, self.length, self._answered = rows, known[0][-1], 0, 0
        self.raw, self.dtype = len(maps[-1][0]) // self.features, maps[-1][0].dtype
        self._kept: list[Tensor] = []  # the tensors to which the structs' pointers point
        built: Any = library("masked", STRUCTS)
        self._block = built.block_bytes() // self.dtype.itemsize  # rows that are computed together
        layers = []
        for k, units in enumerate((self.features, *(len(weight) for weight, _ in maps))):
            values = maps[-1][0].new_zeros(-(-rows // self._block), units, self._block)
            layer = Layer(values=self._point(values), units=units)
            if k < len(maps):
                layer.known = self._point(torch.tensor(known[k], dtype=torch.int64, device="cpu"))
            if k > 0:
                weight, bias = maps[k - 1]
                layer.weight, layer.bias, layer.inputs = self._point(weight), self._point(bias), weight.shape[1]
                layer.skips = weights.residual and 1 < k < len(maps) and k % 2 == 1
            if k == 1 and added is not None:
                layer.added = self._point(self._blocks(added))
            layers.append(layer)
        sizes = rows, self.features, self.raw, len(maps) - 1, torch.get_num_threads()
        self._network = Network(*sizes, (Layer * len(layers))(*layers))
        self._network_at = byref(self._network)
        self._learn = function("masked", "learn", self.dtype, STRUCTS, LEARN)

    def read(self, x: Tensor) -> Tensor:
        """Read x (rows, n), the next features; return raw parameters of these and of the one after, (rows, n + 1, raw).

        After the last feature there is no next one: (rows, n, raw).
        """
        assert not torch.is_grad_enabled(), "a decoder that was started without gradients has none"
        start, stop = self.length, self.length + x.shape[1]
        if not x.is_cpu or x.shape[0] != self.rows or stop > self.features:  # the kernel would read outside x
            raise ValueError(
                f"there is room for {self.features} features of {self.rows} rows on the CPU; got {tuple(x.shape)} from "
                f"{start} on {x.device}."
            )
        x = x.to(self.dtype).contiguous()
        known = min(stop + 1, self.features)
        answers = x.new_empty(self.rows, known - start, self.raw)
        self._learn(self._network_at, x.data_ptr(), x.shape[1], start, self._answered, answers.data_ptr())
        self.length, self._answered = stop, known
        return answers

    def truncate(self, length: int) -> None:
        """Forget all features but the first `length`."""
        assert 0 <= length <= self.length, f"cannot truncate {self.length} features to {length}"
        self.length, self._answered = length, min(self._answered, length + 1)

    def _blocks(self, t: Tensor) -> Tensor:
        """(rows or 1, units) -> (block, units, row in the block)."""
        t = t.to(self.dtype).expand(self.rows, -1)
        return F.pad(t, (0, 0, 0, -self.rows % self._block)).unflatten(0, (-1, self._block)).transpose(1, 2)

    def _point(self, tensor: Tensor) -> int:
        self._kept.append(tensor.contiguous())
        return self._kept[-1].data_ptr()

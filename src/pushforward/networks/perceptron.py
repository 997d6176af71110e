"""A perceptron of rectifiers as a processor runs it: its pass is one call of `perceptron.cpp`, its gradients another.

The answers are those of the tensor operations in `mlp.py`. What is won: masked products are not made, values stay near
while the next layer reads them, and a flow's small networks do not wait for two dozen calls. The loops serve plain
tensors on a CPU. Tracing for a compiler, functorch, forward-mode differentiation, autocast and changed or hooked layers
have the tensor operations, and so have gradients of gradients.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from pushforward.compiled import build, plain

if TYPE_CHECKING:
    from pushforward.networks.mlp import Layers

WORTH = 2**20  # multiplications in a pass that are worth the loops: below, nobody should wait for a compiler
BYTES = 64  # that a layer's values for a row are a multiple of: a vector, or two


def by_kernel(layers: Layers, x: Tensor, added: Tensor | None) -> Tensor:
    """What `layers(x, added)` answers."""
    tensors: list[Any] = [t for layer in layers for t in (layer.weight, layer.bias)]
    if not _serves(layers, x, added, tensors):
        return layers(x, added)
    if added is not None:
        added = added.expand(len(x), -1)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, added, *tensors)):
        return Passed.apply(layers, x, added, *tensors)  # pyright: ignore[reportReturnType]
    return _pass(Network(layers, tensors), x, added, None)


def _serves(layers: Layers, x: Tensor, added: Tensor | None, tensors: list[Tensor]) -> bool:
    return (
        plain(*((x, *tensors) if added is None else (x, added, *tensors)))
        and x.dim() == 2
        and len(x) * sum(weight.numel() for weight in tensors[::2]) >= WORTH
        and all(t.is_contiguous() for t in tensors)
        and x.shape[1] == tensors[0].shape[1]  # else the loops would read what is not there
        and layers.activation is F.relu
        and layers.unchanged()
        and not torch.is_autocast_enabled("cpu")
        and load() is not None
    )


class Passed(torch.autograd.Function):
    """The answers, and gradients of them. Gradients of gradients go through tensor operations."""

    @staticmethod
    def forward(ctx: Any, layers: Layers, x: Tensor, added: Tensor | None, *tensors: Tensor) -> Tensor:
        ctx.layers, network = layers, Network(layers, tensors)
        values = x.new_empty(len(x), network.width)
        ctx.save_for_backward(values, x, added, *tensors)
        return _pass(network, x, added, values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, x, added, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_by_tensors(ctx.layers, x, added, tensors, gradients)
        return None, *_pull(Network(ctx.layers, tensors), values, gradients[0].contiguous(), ctx.needs_input_grad[1:])


def _by_tensors(
    layers: Layers, x: Tensor, added: Tensor | None, tensors: list[Tensor], gradients: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients that have gradients."""
    maps = [*(f"maps.{k}" for k in range(len(layers.maps))), "answer"]
    names = [f"{layer}.{name}" for layer in maps for name in ("weight", "bias")]
    answers = functional_call(layers, dict(zip(names, tensors, strict=True)), (x, added))
    every = (x, added, *tensors)
    wanted = [t for t in every if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad(answers, wanted, gradients, create_graph=True))
    return tuple(next(found) if t is not None and t.requires_grad else None for t in every)


class Network:
    """Where the loops find weights, and where the values of each layer are in a row of memory of `width` numbers."""

    def __init__(self, layers: Layers, tensors: Sequence[Tensor]):
        self.weights, self.columns = tensors[::2], []
        whole = BYTES // tensors[0].element_size()
        self.features = tensors[0].shape[1]
        self.width = -(-self.features // whole) * whole
        self.numbers: list[int] = []  # of each struct Layer in turn
        for k, layer in enumerate(layers, 1):
            weight, bias, mask = *tensors[2 * k - 2 : 2 * k], layer._buffers.get("mask")
            units, inputs = weight.shape
            self.numbers += (weight.data_ptr(), bias.data_ptr(), 0 if mask is None else mask.data_ptr(), 0)
            self.numbers += (inputs, units, self.width, layers.skips(k))
            if 2 * k < len(tensors):
                self.columns.append((self.width, units))
                self.width += -(-units // whole) * whole

    def struct(self, rows: int) -> Any:
        sizes = rows, self.width, self.features, len(self.weights), torch.get_num_threads()
        return (c_int64 * (len(sizes) + len(self.numbers)))(*sizes, *self.numbers)


def _pass(network: Network, x: Tensor, added: Tensor | None, values: Tensor | None) -> Tensor:
    x, answers = x.contiguous(), x.new_empty(len(x), len(network.weights[-1]))
    if added is not None and added.stride(1) != 1:
        added = added.contiguous()
    where = (_at(x), _at(added), c_int64(0 if added is None else added.stride(0)), _at(values), _at(answers))
    _loops("pass", x.dtype)(network.struct(len(x)), *where)
    return answers


def _pull(network: Network, values: Tensor, in_answers: Tensor, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of x, of what was added, and of each weight and bias, where wanted."""
    memory = torch.empty_like(values)
    in_x = values.new_empty(len(values), network.features) if wanted[0] else None
    pairs = zip(network.weights, wanted[2::2], strict=True)
    in_weights = [torch.empty_like(weight) if want else None for weight, want in pairs]
    network.numbers[3::8] = [0 if in_weight is None else in_weight.data_ptr() for in_weight in in_weights]
    _loops("pull", values.dtype)(network.struct(len(values)), _at(values), _at(in_answers), _at(memory), _at(in_x))
    sums = memory.sum(0)
    in_biases = [*(sums[start : start + units] for start, units in network.columns), in_answers.sum(0)]
    start, units = network.columns[0]
    in_added = memory[:, start : start + units] if wanted[1] else None
    return in_x, in_added, *(t for pair in zip(in_weights, in_biases, strict=True) for t in pair)


def _at(tensor: Tensor | None) -> c_void_p | None:
    return None if tensor is None else c_void_p(tensor.data_ptr())


@functools.cache
def _loops(name: str, dtype: torch.dtype) -> Any:
    return getattr(load(), f"{name}_{dtype}".replace("torch.", ""))


@functools.cache
def load() -> ctypes.CDLL | None:
    """What runs a perceptron in the stead of tensor operations; None where it cannot be built."""
    return build(Path(__file__).with_name("perceptron.cpp"))

"""A perceptron with ReLUs, and its gradients: `perceptron.cpp`.

    v_1 = W_1 x + b_1 + added      v_k = W_k relu(v_{k−1}) + b_k [+ v_{k−2}]      answer = W relu(v_last) + b

In a residual perceptron v_3, v_5, … have the term in brackets. W may be masked: W · mask. Products that a mask makes
zero are not computed. Rows are processed in blocks, so that values are still in the processor's cache when the next
layer reads them.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_int64, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.kernels import serving
from pushforward.kernels.build import function, library
from pushforward.recording import recorded

BYTES = 64  # a layer's values for a row are padded to a multiple of this

TensorOperations = Callable[..., Tensor]  # (x, added, W_1, b_1, W_2, b_2, …) -> answers


class Layer(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "mask", "in_weight")),
        *((name, c_int64) for name in ("inputs", "units", "column", "skips")),
    ]


class Network(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "width", "features", "depth", "threads")),
        ("layers", POINTER(Layer)),
    ]


STRUCTS = (Layer, Network)
PASS, PULL = (*[c_void_p] * 3, c_int64, *[c_void_p] * 2), (c_void_p,) * 5  # what the two functions take


class Linear(NamedTuple):
    """A linear map: weight (outputs, inputs), bias (outputs), and a mask like the weight, or none."""

    weight: Tensor
    bias: Tensor
    mask: Tensor | None = None

    def folded(self) -> tuple[Tensor, Tensor]:
        """weight · mask, and the bias."""
        return self.weight if self.mask is None else self.weight * self.mask, self.bias


def pays(rows: int, weights: int, *, masked: bool) -> bool:
    """Whether the kernel is faster than tensor operations, for a perceptron with so many weights.

    It copies the weights at each call, which many rows make up for; products that masks save make up for more.
    """
    if rows * weights < serving.LEAST["perceptron"]:
        return False
    return weights <= 2**12 * rows if masked else weights <= 2**10 * rows <= 2**20


def serves(x: Tensor, added: Tensor | None, layers: Sequence[Linear], *, residual: bool) -> bool:
    """Whether the kernel may compute the outputs (batch, outputs) of x (batch, features)."""
    if recorded() or serving.autocasts() or x.dim() != 2:
        return False
    tensors = [t for layer in layers for t in layer if t is not None]
    return (
        serving.are_plain(x, *tensors, *(() if added is None else (added,)))
        and all(map(Tensor.is_contiguous, tensors))
        and _fit(x, added, layers, residual)
        and library("perceptron", STRUCTS) is not None
    )


def _fit(x: Tensor, added: Tensor | None, layers: Sequence[Linear], residual: bool) -> bool:
    """Whether sizes match: else the kernel would read outside the tensors."""
    inputs, first = x.shape[1], layers[0].bias.shape[0]
    for k, (weight, bias, mask) in enumerate(layers, 1):
        units = bias.shape[0]
        if bias.dim() != 1 or weight.shape != (units, inputs) or (mask is not None and mask.shape != weight.shape):
            return False
        if residual and k < len(layers) and units != first:
            return False
        inputs = units
    return added is None or (added.dim() == 2 and added.shape[1] == first and added.shape[0] in (1, x.shape[0]))


def perceptron(
    x: Tensor, added: Tensor | None, layers: Sequence[Linear], *, residual: bool, tensors: TensorOperations
) -> Tensor:
    """The outputs (batch, outputs), differentiably. `added` is (batch, units of the first layer), or (1, units).

    `tensors(x, added, W_1, b_1, …)` computes the same in tensor operations: for second derivatives, and where the
    backward pass is recorded.
    """
    if added is not None:
        added = added.expand(x.shape[0], -1)
    parameters = [t for layer in layers for t in layer[:2]]
    if serving.records_gradients(x, added, *parameters):
        masks = [layer.mask for layer in layers]
        return _Answered.apply(residual, masks, tensors, x, added, *parameters)  # pyright: ignore[reportReturnType]
    return _answer(_Laid(layers, residual), x, added, None)


class _Answered(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        residual: bool,
        masks: list[Tensor | None],
        tensors: TensorOperations,
        x: Tensor,
        added: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.residual, ctx.masks, ctx.tensors = residual, masks, tensors
        laid = _Laid(_paired(parameters, masks), residual)
        values = x.new_empty(x.shape[0], laid.width)
        ctx.save_for_backward(values, x, added, *parameters)
        return _answer(laid, x, added, values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, *inputs = ctx.saved_tensors
        (gradient,) = gradients
        if serving.may_pull(gradient):
            laid = _Laid(_paired(inputs[2:], ctx.masks), ctx.residual)
            return None, None, None, *_pull(laid, values, gradient.contiguous(), ctx.needs_input_grad[3:])
        return None, None, None, *serving.gradients_by(ctx.tensors, inputs, gradients)


def _paired(parameters: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Linear]:
    return [Linear(*each) for each in zip(parameters[::2], parameters[1::2], masks, strict=True)]


class _Laid:
    """The layers as structs, and the columns of each layer's values in a row of memory of `width` elements."""

    def __init__(self, layers: Sequence[Linear], residual: bool):
        whole = BYTES // layers[0].weight.element_size()
        self.layers, self.columns = layers, []
        self.features = layers[0].weight.shape[1]
        self.width = -(-self.features // whole) * whole
        self.structs = (Layer * len(layers))()
        for k, (weight, bias, mask) in enumerate(layers, 1):
            units, inputs = weight.shape
            pointers = weight.data_ptr(), bias.data_ptr(), None if mask is None else mask.data_ptr(), None
            skips = residual and 1 < k < len(layers) and k % 2 == 1
            self.structs[k - 1] = Layer(*pointers, inputs, units, self.width, skips)
            if k < len(layers):
                self.columns.append((self.width, units))
                self.width += -(-units // whole) * whole

    def network(self, rows: int) -> Network:
        return Network(rows, self.width, self.features, len(self.layers), torch.get_num_threads(), self.structs)


def _answer(laid: _Laid, x: Tensor, added: Tensor | None, values: Tensor | None) -> Tensor:
    x, answers = x.contiguous(), x.new_empty(x.shape[0], laid.layers[-1].weight.shape[0])
    if added is not None and added.stride(1) != 1:
        added = added.contiguous()
    stride = 0 if added is None else added.stride(0)
    answer = function("perceptron", "pass", x.dtype, STRUCTS, PASS)
    answer(byref(laid.network(x.shape[0])), x.data_ptr(), _at(added), stride, _at(values), answers.data_ptr())
    return answers


def _pull(laid: _Laid, values: Tensor, in_answers: Tensor, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of x, of `added`, and of each weight and bias, where wanted."""
    memory = torch.empty_like(values)
    in_x = values.new_empty(len(values), laid.features) if wanted[0] else None
    pairs = zip(laid.layers, wanted[2::2], strict=True)
    in_weights = [torch.empty_like(layer.weight) if want else None for layer, want in pairs]
    for struct, in_weight in zip(laid.structs, in_weights, strict=True):
        struct.in_weight = None if in_weight is None else in_weight.data_ptr()
    pull = function("perceptron", "pull", values.dtype, STRUCTS, PULL)
    pull(byref(laid.network(len(values))), values.data_ptr(), in_answers.data_ptr(), memory.data_ptr(), _at(in_x))
    sums = memory.sum(0)
    in_biases = [*(sums[start : start + units] for start, units in laid.columns), in_answers.sum(0)]
    start, units = laid.columns[0]
    in_added = memory[:, start : start + units] if wanted[1] else None
    return in_x, in_added, *(t for pair in zip(in_weights, in_biases, strict=True) for t in pair)


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()

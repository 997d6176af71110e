"""Calls the kernels of elementwise moves, with gradients.

A move maps elements x (*) and their raw parameters (*, raw) to values and log-slopes, both of x's shape. Its library
has the functions `move` and, for gradients, `pull`, each for float32 and float64.
"""

import ctypes
from collections.abc import Callable
from ctypes import byref, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.kernels import serving
from pushforward.kernels.build import function, library
from pushforward.recording import recorded

MOVE, PULL = (c_void_p,) * 5, (c_void_p,) * 7  # what the two functions take

Values = tuple[Tensor, Tensor]
TensorOperations = Callable[[Tensor, Tensor], Values]  # x and raw -> values and log-slopes


class Move(NamedTuple):
    """A library's name, its struct, and the values of the struct's fields that describe the move."""

    name: str
    struct: type[ctypes.Structure]
    fields: tuple[float, ...]


def moved(move: Move, x: Tensor, raw: Tensor, params: int, least: str, tensors: TensorOperations) -> Values:
    """Values and log-slopes, by the kernel where it may serve: an element has `params` raw parameters, and `least`
    names the work that is worth it. `tensors` computes the same in tensor operations: elsewhere, for second
    derivatives, and where the backward pass is recorded."""
    serves = (
        not recorded()
        and x.numel() >= serving.LEAST[least]
        and raw.shape == (*x.shape, params)  # else the kernel would read outside the tensor
        and serving.are_plain(x, raw)
        and library(move.name, (move.struct,)) is not None
    )
    if not serves:
        return tensors(x, raw)
    if serving.records_gradients(x, raw):
        return _Moved.apply(move, tensors, x, raw)  # pyright: ignore[reportReturnType]
    return _move(move, x, raw)


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, move: Move, tensors: TensorOperations, x: Tensor, raw: Tensor) -> Values:
        ctx.move, ctx.tensors = move, tensors
        ctx.save_for_backward(x, raw)
        return _move(move, x, raw)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, raw = ctx.saved_tensors
        if serving.may_pull(x, raw, *gradients):
            return None, None, *_pull(ctx.move, x, raw, *gradients)
        return None, None, *serving.gradients_by(ctx.tensors, (x, raw), gradients)


def _move(move: Move, x: Tensor, raw: Tensor) -> Values:
    x = x.contiguous()
    y, log_slopes = torch.empty_like(x), torch.empty_like(x)
    _call("move", MOVE, move, x, raw, y, log_slopes)
    return y, log_slopes


def _pull(move: Move, x: Tensor, raw: Tensor, in_y: Tensor, in_log_slopes: Tensor) -> Values:
    x = x.contiguous()
    in_x, in_raw = torch.empty_like(x), x.new_empty(raw.shape)
    _call("pull", PULL, move, x, raw, in_y.contiguous(), in_log_slopes.contiguous(), in_x, in_raw)
    return in_x, in_raw


def _call(door: str, arguments: tuple[Any, ...], move: Move, x: Tensor, raw: Tensor, *others: Tensor) -> None:
    name, struct, fields = move
    raw = raw.reshape(-1, raw.shape[-1])
    raw = raw if raw.stride(1) == 1 else raw.contiguous()
    about = struct(x.numel(), raw.stride(0), torch.get_num_threads(), *fields)
    pointers = [t.data_ptr() for t in (x, raw, *others)]
    function(name, door, x.dtype, (struct,), arguments)(byref(about), *pointers)

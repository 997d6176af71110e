"""Splines by the loops of `spline.cpp`: what `spline.py` says in tensors, and its gradients, many times sooner.

In tensors a spline is a hundred operations on all of its knots. The loops serve plain tensors on a CPU. Tracing for a
compiler, functorch and forward-mode differentiation have the tensor operations, and so have gradients of gradients.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import byref, c_double, c_int64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from pushforward.compiled import build

WORTH = 64  # numbers: for fewer nobody should wait for a compiler
MOST = 32  # bins that there is room for: MOST in spline.cpp

Door = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # numbers (*) and raw numbers (*, raw) -> values, log-slopes


class Kind(NamedTuple):
    """Which spline, and whether backwards."""

    bins: int
    circular: bool
    inverse: bool
    bound: float
    contrast: float

    @property
    def raws(self) -> int:
        """Raw numbers that a number has."""
        return 3 * self.bins - (not self.circular)


def by_kernel(kind: Kind, x: Tensor, raw: Tensor, tensors: Door) -> tuple[Tensor, Tensor]:
    """What `tensors(x, raw)` answers."""
    if not _serves(kind, x, raw):
        return tensors(x, raw)
    if torch.is_grad_enabled() and (x.requires_grad or raw.requires_grad):
        return Moved.apply(kind, tensors, x, raw)  # pyright: ignore[reportReturnType]
    return _move(kind, x, raw)


def _serves(kind: Kind, x: Tensor, raw: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and x.numel() >= WORTH
        and kind.bins <= MOST
        and raw.shape == (*x.shape, kind.raws)  # else the loops would read what is not there
        and all(t.is_cpu and type(t) in (Tensor, nn.Parameter) for t in (x, raw))
        and x.dtype == raw.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch._C._are_functorch_transforms_active()
        and all(forward_ad.unpack_dual(t).tangent is None for t in (x, raw))
        and load() is not None
    )


class Moved(torch.autograd.Function):
    """The two doors' values, and gradients of them. Gradients of gradients go through tensor operations."""

    @staticmethod
    def forward(ctx: Any, kind: Kind, tensors: Door, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        ctx.kind, ctx.tensors = kind, tensors
        ctx.save_for_backward(x, raw)
        return _move(kind, x, raw)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, raw = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = [t for t in (x, raw) if t.requires_grad]
            found = iter(torch.autograd.grad(ctx.tensors(x, raw), wanted, gradients, create_graph=True))
            return None, None, *(next(found) if t.requires_grad else None for t in (x, raw))
        return None, None, *_pull(ctx.kind, x, raw, *gradients)


def _move(kind: Kind, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    y, log_slopes = torch.empty_like(x), torch.empty_like(x)
    _call("move", kind, x, raw, y, log_slopes)
    return y, log_slopes


def _pull(kind: Kind, x: Tensor, raw: Tensor, y: Tensor, log_slopes: Tensor) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    in_x, in_raw = torch.empty_like(x), x.new_empty(raw.shape)
    _call("pull", kind, x, raw, y.contiguous(), log_slopes.contiguous(), in_x, in_raw)
    return in_x, in_raw


def _call(name: str, kind: Kind, x: Tensor, raw: Tensor, *others: Tensor) -> None:
    raw = raw.reshape(-1, raw.shape[-1])
    raw = raw if raw.stride(1) == 1 else raw.contiguous()
    spline = Spline(x.numel(), raw.stride(0), torch.get_num_threads(), *kind)
    loops = getattr(load(), f"{name}_{x.dtype}".replace("torch.", ""))
    loops(byref(spline), *(c_void_p(t.data_ptr()) for t in (x, raw, *others)))


class Spline(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("numbers", "stride", "threads", "bins", "circular", "inverse")),
        *((name, c_double) for name in ("bound", "contrast")),
    ]


@functools.cache
def load() -> ctypes.CDLL | None:
    """What moves numbers in the stead of tensor operations; None where it cannot be built."""
    return build(Path(__file__).with_name("spline.cpp"))

"""Moves by loops: what `spline.py` and `affine.py` say in tensors, and its gradients, many times sooner.

In tensors a spline is a hundred operations on all of its knots, and an affine move ten small ones. The loops of
`spline.cpp` and `affine.cpp` serve plain tensors on a CPU. Tracing for a compiler, functorch and forward-mode
differentiation have the tensor operations, and so have gradients of gradients.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from ctypes import CDLL, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.compiled import build, plain

WORTH = 64  # numbers: for fewer nobody should wait for a compiler
MOST = 32  # bins that there is room for: MOST in spline.cpp

Door = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # numbers (*) and raw numbers (*, raw) -> values, log-slopes


class SplineKind(NamedTuple):
    """A rational-quadratic spline, and whether backwards: the fields of `Spline` in its file."""

    bins: int
    circular: bool
    inverse: bool
    bound: float
    contrast: float

    source, layout = "spline.cpp", "qqqdd"

    @property
    def raws(self) -> int:
        """Raw numbers that a number has; 0 where the loops have no room for them."""
        return 3 * self.bins - (not self.circular) if self.bins <= MOST else 0


class AffineKind(NamedTuple):
    """An affine move by one of the laws in its file, and whether backwards: the fields of `Affine` there."""

    law: int
    inverse: bool
    limit: float

    source, layout = "affine.cpp", "qqd"

    @property
    def raws(self) -> int:
        return 2


Kind = SplineKind | AffineKind


def by_kernel(kind: Kind, x: Tensor, raw: Tensor, tensors: Door) -> tuple[Tensor, Tensor]:
    """What `tensors(x, raw)` answers."""
    if not _serves(kind, x, raw):
        return tensors(x, raw)
    if torch.is_grad_enabled() and (x.requires_grad or raw.requires_grad):
        return Moved.apply(kind, tensors, x, raw)  # pyright: ignore[reportReturnType]
    return _move(kind, x, raw)


def _serves(kind: Kind, x: Tensor, raw: Tensor) -> bool:
    return (
        x.numel() >= WORTH
        and raw.shape == (*x.shape, kind.raws)  # else the loops would read what is not there
        and plain(x, raw)
        and load(kind.source) is not None
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
    about = struct.pack("3q" + kind.layout, x.numel(), raw.stride(0), torch.get_num_threads(), *kind)
    _loops(kind.source, name, x.dtype)(about, *(c_void_p(t.data_ptr()) for t in (x, raw, *others)))


@functools.cache
def _loops(source: str, name: str, dtype: torch.dtype) -> Any:
    return getattr(load(source), f"{name}_{dtype}".replace("torch.", ""))


@functools.cache
def load(source: str) -> CDLL | None:
    """What moves numbers in the stead of tensor operations; None where it cannot be built."""
    return build(Path(__file__).with_name(source))

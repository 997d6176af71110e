"""Rational-quadratic splines of elements by raw parameters: `spline.cpp`.

An element's raw parameters are the logits of its bins' widths, those of their heights, and the log-slopes at the knots:
3 · bins − 1, or 3 · bins on a circle. The formulas are those of moves/spline.py.
"""

import ctypes
from ctypes import c_double, c_int64
from typing import NamedTuple

from torch import Tensor

from pushforward.kernels import elementwise
from pushforward.kernels.elementwise import TensorOperations, Values

MOST = 32  # the largest number of bins: MOST in spline.cpp


class Struct(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("elements", "stride", "threads", "bins", "circular", "inverse")),
        *((name, c_double) for name in ("bound", "contrast")),
    ]


class Spline(NamedTuple):
    """A spline on [−bound, bound], a circle if `circular`; `contrast` bounds slopes and ratios of bin sizes."""

    bins: int
    circular: bool
    bound: float
    contrast: float


def moved(x: Tensor, raw: Tensor, spline: Spline, *, inverse: bool, tensors: TensorOperations) -> Values:
    """Values and log-slopes of x (*), differentiably: by the kernel where it may serve, else `tensors(x, raw)`."""
    if spline.bins > MOST:
        return tensors(x, raw)
    fields = spline.bins, spline.circular, inverse, spline.bound, spline.contrast
    params = 3 * spline.bins - (not spline.circular)
    return elementwise.moved(elementwise.Move("spline", Struct, fields), x, raw, params, "spline", tensors)

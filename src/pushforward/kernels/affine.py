"""Affine moves of elements by raw parameters (*, 2), for log-scale and shift: `affine.cpp`.

Forward is (x − shift) · exp(−log_scale), with log-slope −log_scale; inverse is y · exp(log_scale) + shift, with
log-slope log_scale. log_scale is a function of raw[..., 0], one of BOUNDS with a limit L: "exp" is raw, "tanh" is
L · tanh(raw / L), "soft_clip" is L · raw / (L + |raw|).
"""

import ctypes
from ctypes import c_double, c_int64

from torch import Tensor

from pushforward.kernels import elementwise, serving
from pushforward.kernels.elementwise import TensorOperations, Values

BOUNDS = ("exp", "tanh", "soft_clip")


class Struct(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("elements", "stride", "threads", "bound", "inverse")),
        ("limit", c_double),
    ]


def moved(x: Tensor, raw: Tensor, *, bound: str, limit: float, inverse: bool, tensors: TensorOperations) -> Values:
    """Values and log-slopes of x (*), differentiably: by the kernel where it may serve, else `tensors(x, raw)`.

    Without a bound few tensor operations are needed, so the kernel serves only larger tensors.
    """
    least = "affine"
    if bound == "exp":
        least += ", unbounded, gradients" if serving.records_gradients(x, raw) else ", unbounded"
    move = elementwise.Move("affine", Struct, (BOUNDS.index(bound), inverse, limit))
    return elementwise.moved(move, x, raw, 2, least, tensors)

"""A masked perceptron of rectifiers as a processor goes back through it: `rectified.cpp` reads new numbers in one call.

The answers are those of the tensor operations in `masked.py`, of which a number needs two dozen.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, byref, c_int64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.compiled import build, plain

if TYPE_CHECKING:
    from pushforward.networks.masked import Known

WORTH = 2**22  # multiplications in reading a batch that are worth the loops: below, nobody should wait for a compiler
BLOCK = 256  # bytes that a unit's values for a block of rows take: VECTORS · BYTES in rectified.cpp


def serves(known: Known, x: Tensor) -> bool:
    """Whether the loops read in the stead of tensor operations: on a CPU, where no gradients are wanted."""
    weights = [weight for weight, _ in (*known.maps, known.answer)]
    return (
        not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
        and known.activation is F.relu
        and len(x) * sum(weight.numel() for weight in weights) >= WORTH
        and type(x) is Tensor
        and x.is_cpu
        and plain(*weights)
        and load() is not None
    )


class Rectified:
    """What is known of `rows` vectors: room for the values of every unit, beside the masked weights."""

    def __init__(self, known: Known, rows: int):
        maps = (*known.maps, known.answer)
        self.rows, self.tokens, self.raw = rows, known.tokens, len(known.answer[0]) // known.tokens
        self.dtype = known.answer[0].dtype
        self.pointed_at: list[Tensor] = []  # the loops hold pointers, and these the memory
        size = BLOCK // self.dtype.itemsize
        room = -(-rows // size) * size
        values = [
            known.answer[0].new_zeros(units, room) for units in (self.tokens, *(len(weight) for weight, _ in maps))
        ]
        counts = [torch.tensor(layer, device="cpu") for layer in known.counts]
        layers = [LayerStruct(values=self._point(values[0]), known=self._point(counts[0]))]
        for k, (weight, bias) in enumerate(maps, 1):
            layer = LayerStruct(*(self._point(t) for t in (weight, bias)), values=self._point(values[k]))
            layer.inputs, layer.skips = weight.shape[1], k < len(maps) and known.skips(k)
            if k == 1 and known.projected is not None:
                layer.added = self._point(F.pad(known.projected.expand(-1, rows), (0, room - rows)))
            if k < len(maps):
                layer.known = self._point(counts[k])
            layers.append(layer)
        self.answers = values[-1]
        sizes = room, self.tokens, self.raw, len(known.maps), torch.get_num_threads()
        self.network = NetworkStruct(*sizes, (LayerStruct * len(layers))(*layers))
        self.loops = getattr(load(), f"learn_{self.dtype}".replace("torch.", ""))
        self.loops.argtypes = [c_void_p, c_void_p, *[c_int64] * 4]

    def learn(self, x: Tensor, start: int, answered: int) -> Tensor:
        """Read x (rows, n) as the numbers from `start`, and return all answers that are known then, (raw, rows)."""
        assert not torch.is_grad_enabled(), "a cache that was first fed without gradients goes on without"
        stop = start + x.shape[1]
        if not x.is_cpu or x.shape[0] != self.rows or stop > self.tokens:  # the loops would read what is not there
            raise ValueError(
                f"there is room for {self.tokens} numbers of {self.rows} rows on the CPU; got {tuple(x.shape)} from "
                f"{start} on {x.device}."
            )
        x = x.to(self.dtype).contiguous()
        self.loops(byref(self.network), x.data_ptr(), self.rows, x.shape[1], start, answered)
        return self.answers[: min(stop + 1, self.tokens) * self.raw, : self.rows]

    def _point(self, tensor: Tensor) -> int:
        self.pointed_at.append(tensor.contiguous())
        return self.pointed_at[-1].data_ptr()


class LayerStruct(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "added", "values", "known")),
        *((name, c_int64) for name in ("inputs", "skips")),
    ]


class NetworkStruct(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "tokens", "raw", "depth", "threads")),
        ("layers", POINTER(LayerStruct)),
    ]


@functools.cache
def load() -> ctypes.CDLL | None:
    """What reads numbers in the stead of tensor operations; None where it cannot be built."""
    return build(Path(__file__).with_name("rectified.cpp"))

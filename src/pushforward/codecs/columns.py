"""Uniform dequantization of those columns of a table that hold integers."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.codecs.base import Codec, Identity
from pushforward.flow import Flow
from pushforward.randomness import Source, draw
from pushforward.recording import readable
from pushforward.shapes import Events, PerSample
from pushforward.statistics import INTEGERS
from pushforward.transforms import ProductSupport


@dataclass(frozen=True)
class ColumnDequantization(Codec):
    """For tables with integers in some columns: there x = v + u, u uniform in (0, 1). Other columns stay as they are.

    Integers beyond 2^17 are encoded in float64. Bins have width 1, so log_q is 0; a bound is on the integral of the
    density over the integers' bins.

    >>> x, log_q = ColumnDequantization((1,)).encode(torch.tensor([[0.5, 3.0]]))
    >>> ColumnDequantization((1,)).decode(x)
    tensor([[0.5000, 3.0000]])
    """

    columns: tuple[int, ...]
    levels: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        x, v = self._integers(data)
        u = draw(torch.rand, v.shape, v, generator)
        self._replace(x, (v + u).clamp(v.nextafter(v + 1), (v + 1).nextafter(v)))  # never on a bin's edge
        return x, x.new_zeros(len(x))

    def decode(self, x: Events) -> Tensor:
        data = x.clone()
        self._replace(data, self._chosen(x).floor())
        return data

    def clean(self, data: Tensor) -> Events:
        x, v = self._integers(data)
        self._replace(x, v + 0.5)
        return x

    def _chosen(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, column] for column in self.columns], 1)  # a list as an index would be copied to a GPU

    def _replace(self, x: Tensor, v: Tensor) -> None:
        for column, values in zip(self.columns, v.unbind(1), strict=True):
            x[:, column] = values

    def _integers(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """A copy of the data as real numbers, and its columns of integers. Raises ValueError where they hold others; on
        a GPU, where a look at the data would wait for it, these become NaN."""
        if data.shape[1] <= max(self.columns):
            raise ValueError(f"columns {self.columns} are of integers; the data have {data.shape[1]} columns.")
        real = data.dtype if data.is_floating_point() else torch.get_default_dtype()
        if readable(data) and len(data) and self._chosen(data).abs().amax() > INTEGERS:
            real = torch.float64
        x = data.to(real, copy=True)
        v = self._chosen(x)
        if not readable(data):
            return x, torch.where(v == v.floor(), v, math.nan)
        wrong = (v != v.floor()).nonzero().tolist()
        if wrong:
            row, i = wrong[0]
            raise ValueError(f"column {self.columns[i]} is of integers; row {row} holds {v[row, i]:.12g}.")
        return x, v


def codec_of(flow: Flow) -> Codec:
    """The codec of a flow of vectors: `ColumnDequantization` where its supports are `Integers`, else `Identity`.

    >>> from pushforward.models import MAF
    >>> from pushforward.transforms import Integers
    >>> codec_of(MAF(features=2, supports=(Integers(0, 9), Integers())).build())
    ColumnDequantization(columns=(0, 1))
    """
    columns = flow.support.integers if isinstance(flow.support, ProductSupport) else ()
    return ColumnDequantization(columns) if columns else Identity()

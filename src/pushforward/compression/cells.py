"""Data as cells of the line: each value has an interval, and whatever lies in it decodes to the value."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pushforward.codecs import Codec, Identity, UniformDequantization
from pushforward.transform import Chain, Transform
from pushforward.transforms import ActNorm

DECIMALS = 9  # at most, of the values of a table


class Cells(ABC):
    """The cells of all values of the data, where the steps of a flow begin."""

    @abstractmethod
    def ends(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper ends of the cells of these values, float64."""

    @abstractmethod
    def values(self, x: Tensor) -> Tensor:
        """The values in whose cells x, float64, lies."""


class Levels(Cells):
    """Integers 0 … levels − 1: the cells of `UniformDequantization`."""

    def __init__(self, levels: int):
        self._levels = levels

    def ends(self, data: Tensor) -> tuple[Tensor, Tensor]:
        v = data.double()
        return 2 * v / self._levels - 1, 2 * (v + 1) / self._levels - 1

    def values(self, x: Tensor) -> Tensor:
        return ((x + 1) * self._levels / 2).floor()


class Decimals(Cells):
    """Columns of decimal numbers, each with its own number of decimals, in the units of a flow's first `ActNorm`."""

    def __init__(self, decimals: list[int], units: ActNorm | None):
        self._scale = 10.0 ** torch.tensor(decimals, dtype=torch.float64)
        self._units = units

    def ends(self, data: Tensor) -> tuple[Tensor, Tensor]:
        v = (data.double() * self._scale).round()
        low, high = (v - 0.5) / self._scale, (v + 0.5) / self._scale
        return (low, high) if self._units is None else (self._units(low)[0], self._units(high)[0])

    def values(self, x: Tensor) -> Tensor:
        x = x if self._units is None else self._units.inverse(x)[0]
        return (x * self._scale).round() / self._scale + 0.0  # never −0


def cells_of(codec: Codec, transform: Transform, decimals: list[int]) -> tuple[Cells, Transform]:
    """The cells, and the transform that follows. Raises ValueError for codecs whose cells are none."""
    if isinstance(codec, UniformDequantization):
        return Levels(codec.levels), transform
    if not isinstance(codec, Identity):
        raise ValueError(
            f"data with the codec {codec} cannot be coded. Those that can: integers with UniformDequantization, "
            "tables of decimal numbers, whose codec is Identity, and text with TokenCells by one autoregressive step."
        )
    if isinstance(transform, Chain) and len(transform) > 1 and isinstance(units := transform[0], ActNorm):
        return Decimals(decimals, units), Chain(*[*transform][1:])
    return Decimals(decimals, None), transform


def decimals_of(data: Tensor) -> list[int]:
    """How many decimals each column of a table (rows, columns) has. Raises ValueError where it has more than 9."""
    found = []
    for i, column in enumerate(data.unbind(1)):
        for decimals in range(DECIMALS + 1):
            scale = 10.0**decimals
            if torch.equal(((column.double() * scale).round() / scale).to(column.dtype), column):
                found.append(decimals)
                break
        else:
            raise ValueError(f"column {i} has values of more than {DECIMALS} decimals; round it first.")
    return found

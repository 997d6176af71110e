"""Data as events: what the encoder pops from the stack for each value, and the decoder pushes back.

A value is a cell of the line, and whatever lies in it decodes to the value. Or a token is a Gaussian of a codebook, and
each point decodes to every token with a probability.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from pushforward.codecs import Codec, GaussianCodebook, Identity, UniformDequantization
from pushforward.compression.stack import Stack
from pushforward.compression.steps import Grid, flat
from pushforward.transform import Chain, Transform
from pushforward.transforms import ActNorm

DECIMALS = 9  # at most, of the values of a table
NARROWEST = 2.0**-4  # a cell counts as no wider than this
LARGEST = 2.0**-38  # of a value: the least cell, of 2^13 units or more, whose ends are below 2^52 units
ENTROPY = 0.5 * math.log2(2 * math.pi * math.e)  # bits of a standard normal distribution


class Points(ABC):
    """The points x of data, int64 on a grid, where the steps of a flow begin."""

    @abstractmethod
    def pop(self, data: Tensor, stack: Stack, grid: Grid) -> Tensor:
        """data -> points that the stack chooses."""

    @abstractmethod
    def push(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor:
        """x -> the data; the stack is as it was before `pop`."""

    @abstractmethod
    def bits(self, data: Tensor, grid: Grid) -> Tensor:
        """How many bits `pop` takes, for each element of the points."""

    @abstractmethod
    def width(self, data: Tensor) -> float:
        """The width of the narrowest set of points of a value."""


class Cells(Points):
    """The cells of all values: points in them are equally probable."""

    def pop(self, data: Tensor, stack: Stack, grid: Grid) -> Tensor:
        first, counts = self._places(data, grid)
        return first + torch.from_numpy(stack.pop_uniform(flat(counts))).view(first.shape)

    def push(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor:
        data = self.values(grid.real(x))
        first, counts = self._places(data, grid)
        stack.push_uniform(flat(x - first), flat(counts))
        return data

    def bits(self, data: Tensor, grid: Grid) -> Tensor:
        return self._places(data, grid)[1].double().log2()

    def width(self, data: Tensor) -> float:
        """Raises ValueError where float64 does not hold the cells of large values."""
        if not data.numel():
            return NARROWEST
        low, high = self.ends(data)
        width, largest = (high - low).min().item(), high.abs().max().item()
        if not min(width, NARROWEST) > LARGEST * largest:
            raise ValueError(
                f"values up to {largest:.3g}, in the flow's units, have cells of {width:.1g} there, which float64 does "
                "not tell apart well enough to code: subtract a number near them all, or round them."
            )
        return min(width, NARROWEST)

    def _places(self, data: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """The first unit of each cell, and how many units it has."""
        low, high = (grid.units(end) for end in self.ends(data))
        first = low.ceil().long() + 1  # never at an end, which rounding may put into another cell
        return first, (high - first - 1).long()

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
        self._scale = 10.0 ** torch.tensor(decimals, dtype=torch.float64, device="cpu")
        self._units = units

    def ends(self, data: Tensor) -> tuple[Tensor, Tensor]:
        v = (data.double() * self._scale).round()
        low, high = (v - 0.5) / self._scale, (v + 0.5) / self._scale
        return (low, high) if self._units is None else (self._units(low)[0], self._units(high)[0])

    def values(self, x: Tensor) -> Tensor:
        x = x if self._units is None else self._units.inverse(x)[0]
        return (x * self._scale).round() / self._scale + 0.0  # never −0


class Tokens(Points):
    """Tokens by a codebook: x ~ N(mean_k, sigma_k² I), and the decoder pops the token by its probability given x."""

    def __init__(self, codebook: GaussianCodebook):
        self._codebook = codebook

    def pop(self, data: Tensor, stack: Stack, grid: Grid) -> Tensor:
        mean, deviation = self._normal(data, grid)
        x = torch.from_numpy(stack.pop_normal(flat(mean), flat(deviation))).view(mean.shape)
        stack.push_choice(flat(data.long()), self._table(x, grid))
        return x

    def push(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor:
        data = torch.from_numpy(stack.pop_choice(self._table(x, grid))).view(x.shape[:-1])
        stack.push_normal(flat(x), *map(flat, self._normal(data, grid)))
        return data

    def bits(self, data: Tensor, grid: Grid) -> Tensor:
        return self._normal(data, grid)[1].log2() + ENTROPY

    def width(self, data: Tensor) -> float:
        return self._codebook.gaussians.log_scale.exp().min().item()

    def _normal(self, data: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        mean, sigma = self._codebook.normal(data)
        return grid.units(mean), grid.units(sigma)[..., None].expand_as(mean)

    def _table(self, x: Tensor, grid: Grid) -> np.ndarray:
        return self._codebook.log_densities(grid.real(x)).softmax(-1).flatten(0, -2).numpy()


def points_of(codec: Codec, transform: Transform, decimals: list[int]) -> tuple[Points, Transform]:
    """The points of data, and the transform that follows. Raises ValueError for codecs that have none."""
    if isinstance(codec, GaussianCodebook):
        return Tokens(codec), transform
    if isinstance(codec, UniformDequantization):
        return Levels(codec.levels), transform
    if not isinstance(codec, Identity):
        raise ValueError(
            f"data with the codec {codec} cannot be coded. Those that can: integers with UniformDequantization, "
            "tables of decimal numbers, whose codec is Identity, and text with GaussianCodebook, or with TokenCells by "
            "one autoregressive step."
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

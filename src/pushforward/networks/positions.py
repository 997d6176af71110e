"""Where tokens stand in their sequence, as a causal transformer is told it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which the features of queries and keys are turned, (T, features / 2) each."""

    cos: Tensor
    sin: Tensor

    def __call__(self, t: Tensor) -> Tensor:
        """Turn pairs of features (…, T, features): feature i of the first half goes with feature i of the second."""
        one, other = t.chunk(2, -1)
        cos, sin = self.cos.to(t.dtype), self.sin.to(t.dtype)
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


class Positions(nn.Module, ABC):
    """What tells a transformer where a token stands: something added to it, or a rotation in its attention."""

    tokens: int | None  # how many places there are; None where there is no last one

    @abstractmethod
    def forward(self, h: Tensor, start: int = 0) -> Tensor:
        """Tokens (B, T, W) that stand at `start` and after -> the same, told where."""

    @abstractmethod
    def rotation(self, start: int, stop: int, features: int, device: torch.device) -> Rotation | None:
        """How the queries and keys of a head, of so many features, are turned at the places from start to stop."""


class Learned(Positions):
    """A learned vector for each place, added to its token. N(0, 0.01²) at the start.

    >>> Learned(4, 8)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.tokens = tokens
        self.weight = nn.Parameter(0.01 * torch.randn(tokens, width))

    def forward(self, h: Tensor, start: int = 0) -> Tensor:
        return h + self.weight[start : start + h.shape[1]]

    def rotation(self, start: int, stop: int, features: int, device: torch.device) -> Rotation | None:  # noqa: ARG002
        return None

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))


class Rotary(Positions):
    """Rotations of queries and keys, by angles that grow with the place: attention depends on distances alone.

    At place p pair i of features is turned by p · base^(−i / pairs). `sizes` are those of a grid in whose order, the
    last axis fastest, the tokens come: each axis turns a share of the pairs of its own. The first may be None, and then
    a sequence may be of any length: Rotary(None) is a line without an end, Rotary(None, 28) rows of 28 tokens.

    Su et al. 2021, arXiv:2104.09864, equation 15, with the features of a pair half a head apart; axes as by Heo et al.
    2024, arXiv:2403.13298, equation 6.

    >>> Rotary(None, 3).places(2, 5, torch.device("cpu"))
    tensor([[0, 2],
            [1, 0],
            [1, 1]])
    """

    def __init__(self, *sizes: int | None, base: float = 10000.0):
        super().__init__()
        if not sizes or None in sizes[1:]:
            raise ValueError(f"a grid has at least one axis, and only the first may have no end; got {sizes}.")
        self.sizes, self.base = sizes, base
        self.tokens = None if sizes[0] is None else math.prod(size for size in sizes if size is not None)

    def places(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Where in the grid the tokens from start to stop stand, (T, axes) of integers."""
        place, places = torch.arange(start, stop, device=device), []
        for size in reversed(self.sizes[1:]):
            assert size is not None
            places.append(place % size)
            place = place // size
        return torch.stack([place, *reversed(places)], -1)

    def forward(self, h: Tensor, start: int = 0) -> Tensor:  # noqa: ARG002
        return h

    def rotation(self, start: int, stop: int, features: int, device: torch.device) -> Rotation | None:
        pairs, rest = divmod(features, 2 * len(self.sizes))
        if rest:
            raise ValueError(
                f"{len(self.sizes)} axes share the pairs of features of an attention head; {features} features are not "
                f"a multiple of {2 * len(self.sizes)}."
            )
        speed = self.base ** -(torch.arange(pairs, device=device, dtype=torch.float64) / pairs)
        angles = (self.places(start, stop, device)[..., None] * speed).flatten(-2)
        return Rotation(angles.cos(), angles.sin())

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.sizes))

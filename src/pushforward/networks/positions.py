"""Position encodings: how a causal transformer distinguishes the places of tokens in their sequence."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pushforward.randomness import normal


class Rotation(NamedTuple):
    """Cosines and sines, (T, features / 2) each, of the angles by which pairs of features are rotated."""

    cos: Tensor
    sin: Tensor

    def __call__(self, t: Tensor) -> Tensor:
        """Rotate pairs of features, (…, T, features): feature i of the first half with feature i of the second."""
        one, other = t.chunk(2, -1)
        cos, sin = self.cos.to(t.dtype), self.sin.to(t.dtype)
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


class Positions(nn.Module, ABC):
    """Encodes the place of a token: by a vector added to it, or by a rotation of queries and keys."""

    tokens: int | None  # the longest sequence; None for any length

    @abstractmethod
    def forward(self, h: Tensor, start: int = 0) -> Tensor:
        """Tokens (B, T, W) at places start, start + 1, … -> the same with their places added."""

    @abstractmethod
    def rotation(self, start: int, stop: int, features: int, device: torch.device) -> Rotation | None:
        """The rotation of queries and keys at places start … stop − 1, for heads of `features` features; or None."""


class Learned(Positions):
    """A learned vector for each place, added to its token. N(0, 0.01²) at the start.

    With `prefix` tokens before the sequence there are vectors for the places −prefix … −1, too.

    >>> Learned(4, 8)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, tokens: int, width: int, *, prefix: int = 0):
        super().__init__()
        self.tokens, self.prefix = tokens, prefix
        self.weight = nn.Parameter(normal(0.01, prefix + tokens, width))

    def forward(self, h: Tensor, start: int = 0) -> Tensor:
        start = start + self.prefix
        return h + self.weight[start : start + h.shape[1]]

    def rotation(self, start: int, stop: int, features: int, device: torch.device) -> Rotation | None:
        return None

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))


class Rotary(Positions):
    """Rotations of queries and keys by angles proportional to the place: attention depends on differences of places.

    At place p, pair i of features is rotated by p · base^(−i / pairs). Tokens lie on a grid of shape `sizes`, in
    row-major order; each axis has its own equal share of the pairs. The first size may be None, for sequences of any
    length: Rotary(None) is a line, Rotary(None, 28) rows of 28 tokens.

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
            raise ValueError(f"a grid has at least one axis, and only the first may be None; got {sizes}.")
        self.sizes, self.base = sizes, base
        self.tokens = None if sizes[0] is None else math.prod(size for size in sizes if size is not None)

    def places(self, start: int, stop: int, device: torch.device) -> Tensor:
        """The grid indices of tokens start … stop − 1, (T, axes) of integers."""
        place, places = torch.arange(start, stop, device=device), []
        for size in reversed(self.sizes[1:]):
            assert size is not None
            places.append(place % size)
            place = place // size
        return torch.stack([place, *reversed(places)], -1)

    def forward(self, h: Tensor, start: int = 0) -> Tensor:
        return h

    def rotation(self, start: int, stop: int, features: int, device: torch.device) -> Rotation:
        pairs, rest = divmod(features, 2 * len(self.sizes))
        if rest:
            raise ValueError(
                f"{len(self.sizes)} axes share the pairs of features of an attention head equally; {features} features "
                f"are not a multiple of {2 * len(self.sizes)}. Choose another width or number of heads."
            )
        speed = self.base ** -(torch.arange(pairs, device=device, dtype=torch.float64) / pairs)
        angles = (self.places(start, stop, device)[..., None] * speed).flatten(-2)
        return Rotation(angles.cos(), angles.sin())

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.sizes))


class ScaledRotary(Positions):
    """Rotary positions of an image's tokens in units of a common size, and of the tokens before them.

    An image of h × w tokens is laid on a square of area extent²: row r is at r · extent / √(h·w), and so are columns.
    Grids of all sizes and aspect ratios then lie in the range of one another. With `prefix` tokens before the image, or
    with several `frames` of a video (None: any number), there is a third axis: token j of the prefix is at (0, 0,
    j / prefix · extent), those of frame k at k. Rows, columns and the third axis have 3/8, 3/8 and 1/4 of a head's
    features; without a third axis rows and columns have half.

    Places are counted from the image's first token; those of the prefix are −prefix … −1. Gu et al. 2025 (STARFlow),
    arXiv:2506.06276; frequencies as in `Rotary`.

    >>> ScaledRotary((2, 2), prefix=2, extent=4).places(-2, 3, torch.device("cpu"))
    tensor([[0., 0., 0.],
            [0., 0., 2.],
            [0., 0., 0.],
            [0., 2., 0.],
            [2., 0., 0.]], dtype=torch.float64)
    """

    def __init__(
        self,
        grid: tuple[int, int],
        *,
        prefix: int = 0,
        frames: int | None = 1,
        extent: float = 32,
        base: float = 10000.0,
    ):
        super().__init__()
        self.grid, self.prefix, self.frames, self.extent, self.base = grid, prefix, frames, extent, base
        self.tokens = None if frames is None else frames * math.prod(grid)

    def on(self, grid: tuple[int, int], frames: int | None = 1) -> ScaledRotary:
        """The positions of another grid."""
        return ScaledRotary(grid, prefix=self.prefix, frames=frames, extent=self.extent, base=self.base)

    def places(self, start: int, stop: int, device: torch.device) -> Tensor:
        """The coordinates of tokens start … stop − 1, (T, 3) float64: row, column, frame or place in the prefix."""
        place = torch.arange(start, stop, device=device, dtype=torch.float64)
        token, unit = place.clamp(min=0), self.extent / math.sqrt(math.prod(self.grid))
        row, column = token // self.grid[1], token % self.grid[1]
        before = (place + self.prefix) / max(self.prefix, 1) * self.extent
        third = torch.where(place < 0, before, token // math.prod(self.grid))
        return torch.stack([row % self.grid[0] * unit, column * unit, third], -1)

    def forward(self, h: Tensor, start: int = 0) -> Tensor:
        return h

    def rotation(self, start: int, stop: int, features: int, device: torch.device) -> Rotation:
        return self.rotation_at(self.places(start, stop, device), features)

    def rotation_at(self, places: Tensor, features: int) -> Rotation:
        """The rotation at places (…, 3), coordinates as by `places`: cosines and sines (…, features / 2)."""
        parts = (3, 3, 2) if self.prefix or self.frames != 1 else (1, 1)  # each axis's share of the pairs
        pairs, rest = divmod(features, 2 * sum(parts))
        if rest:
            raise ValueError(f"attention heads have a multiple of {2 * sum(parts)} features; got {features}.")
        angles = [
            places[..., axis, None] * self.base ** -(torch.arange(n, device=places.device, dtype=torch.float64) / n)
            for axis, n in enumerate(pairs * part for part in parts)
        ]
        turns = torch.cat(angles, -1)
        return Rotation(turns.cos(), turns.sin())

    def extra_repr(self) -> str:
        return f"{self.grid}, prefix={self.prefix}, frames={self.frames}, extent={self.extent:g}"

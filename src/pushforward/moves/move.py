"""The contract of a move: how one token, or one element, moves by the raw parameters that a network answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor


class Move(ABC):
    """How a token moves, given raw parameters. It may be a module, with weights of its own.

    raw is what a network answered: real numbers without bounds, of shape (*x.shape[:-1], *raw_shape(features)).
    forward goes from data to latent, inverse from latent to data; both return log-slopes, unsummed, of x's shape.
    Arithmetic is in at least float32. Zero raw parameters are the identity, or what the move's docstring says they are.
    """

    gaussian: ClassVar[bool] = False  # whether `params` are `AffineParams`: given them, a normal z makes x Gaussian
    volume_preserving: ClassVar[bool] = False  # whether all log-slopes are 0, whatever the parameters

    @abstractmethod
    def raw_shape(self, features: int) -> tuple[int, ...]:
        """The shape of the raw parameters that a token of so many features needs."""

    @abstractmethod
    def params(self, raw: Tensor) -> Any:
        """Raw parameters, named and bounded: a NamedTuple. For guidance, checks and pictures."""

    @abstractmethod
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """x -> y and log dy/dx, both of x's shape."""

    @abstractmethod
    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """y -> x and log dx/dy, both of y's shape."""

    def outside(self, x: Tensor) -> Tensor | None:
        """Which elements it leaves as they are, beyond its bounds: bool, of any shape; None where it has no bounds."""
        return None


class Elementwise(Move):
    """A move in which every element moves by parameters of its own: raw is (*x.shape, params_per_element).

    Zero raw parameters are the identity.
    """

    @property
    @abstractmethod
    def params_per_element(self) -> int: ...

    def raw_shape(self, features: int) -> tuple[int, ...]:
        return features, self.params_per_element

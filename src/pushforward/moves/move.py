"""The contract of a move: how one token, or one number, moves when it is told its parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class Move(ABC):
    """How a token moves, given its parameters. It may be a module, with weights of its own.

    A network answers raw numbers, of shape (*x.shape[:-1], *raw_shape(features)); `interpret` names and bounds them, in
    at least float32. forward goes from data to latent, inverse from latent to data; both return log-slopes,
    unsummed, of x's shape. Zero raw numbers are the identity, or what the move's docstring says they are.
    """

    @abstractmethod
    def raw_shape(self, features: int) -> tuple[int, ...]:
        """The shape of the raw numbers that a token of so many features needs."""

    @abstractmethod
    def interpret(self, raw: Tensor) -> Any:
        """Raw numbers -> named parameters (a NamedTuple)."""

    @abstractmethod
    def forward(self, x: Tensor, params: Any) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def inverse(self, y: Tensor, params: Any) -> tuple[Tensor, Tensor]: ...

    def outside(self, x: Tensor) -> Tensor | None:
        """Which elements it leaves as they are, beyond its bounds: bool, of any shape; None where it has no bounds."""
        return None


class Elementwise(Move):
    """A move in which every number moves by parameters of its own: raw is (*x.shape, params_per_element).

    Zero raw numbers are the identity.
    """

    @property
    @abstractmethod
    def params_per_element(self) -> int: ...

    def raw_shape(self, features: int) -> tuple[int, ...]:
        return features, self.params_per_element

"""The contract of a move: an invertible map of a token, given the raw parameters that a network returned."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor


class Move(ABC):
    """An invertible map of a token, given raw parameters. It may be a module, with weights of its own.

    raw has shape (*x.shape[:-1], *raw_shape(features)); its values are any real numbers, as a network returns them.
    forward goes from data to latent, inverse from latent to data; both return log-slopes, unsummed, of x's shape.
    Arithmetic is in at least float32. Zero raw parameters are the identity, or what the move's docstring says they are.
    """

    gaussian: ClassVar[bool] = False  # whether `params` returns `AffineParams`: then x is Gaussian if z is normal
    volume_preserving: ClassVar[bool] = False  # whether all log-slopes are 0, whatever the parameters

    @abstractmethod
    def raw_shape(self, features: int) -> tuple[int, ...]:
        """The shape of the raw parameters of a token with this number of features."""

    @abstractmethod
    def params(self, raw: Tensor) -> Any:
        """Raw parameters, bounded: a NamedTuple, or a tensor where there is one. For guidance, checks and pictures."""

    @abstractmethod
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """x -> y and log dy/dx, both of x's shape."""

    @abstractmethod
    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """y -> x and log dx/dy, both of y's shape."""

    def log_density(self, x: Tensor, raw: Tensor) -> Tensor:
        """The log-density of x where y is standard normal, in nats: (*, …), whose sum over a row is that of the row.

        Some moves compute it without y. So does a flow whose last step has such a move, and a standard normal base.
        """
        y, log_slopes = self.forward(x, raw)
        return log_slopes - 0.5 * (y.square() + math.log(2 * math.pi))

    def outside(self, x: Tensor) -> Tensor | None:
        """Whether each element lies outside the bounds of the move, where it has few parameters or none, as a spline or
        the tails of a histogram: bool, of any shape. None where the move has no bounds."""
        return None


class Elementwise(Move):
    """A move of each element by parameters of its own: raw is (*x.shape, params_per_element)."""

    @property
    @abstractmethod
    def params_per_element(self) -> int: ...

    def raw_shape(self, features: int) -> tuple[int, ...]:
        return features, self.params_per_element

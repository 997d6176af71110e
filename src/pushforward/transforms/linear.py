"""Learned linear maps of the numbers of a vector, or of the channels at each place of an image.

    z = W x,  log|det dz/dx| = places · log|det W|

They let every number meet every other between steps whose splits or orders are fixed: what Glow calls a learned
generalisation of a permutation. W is kept as factors whose determinant and inverse are cheap. Kingma & Dhariwal 2018
(Glow), arXiv:1807.03039; Durkan et al. 2019 (NSF), arXiv:1906.04032.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward.context import Context
from pushforward.shapes import Events, PerSample, at_least_float32, without_autocast
from pushforward.transform import Transform


class Linear(Transform):
    """A transform that multiplies numbers, or the channels at each place, by a matrix."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """W, (features, features), in at least float32."""


class LU(Linear):
    """W = L U, of which L has ones on its diagonal and U has exp of what `factors` has there: log|det W| is its trace.

    `factors` (features, features) holds both triangles, and zero is the identity. W has no negative pivots and moves no
    number to another's place, so a `Permutation` usually stands before it.

    >>> z, log_det = LU(3)(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> z.tolist(), log_det.item()
    ([[1.0, 2.0, 3.0]], 0.0)
    """

    def __init__(self, features: int):
        super().__init__()
        self.factors = nn.Parameter(torch.zeros(features, features))

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        lower, upper, log_det = self._triangles()
        return _mixed(lambda columns: lower @ (upper @ columns), x), _everywhere(log_det, x)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        lower, upper, log_det = self._triangles()

        def solved(columns: Tensor) -> Tensor:
            columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
            return torch.linalg.solve_triangular(upper, columns, upper=True)

        return _mixed(solved, z), _everywhere(-log_det, z)

    def matrix(self) -> Tensor:
        lower, upper, _ = self._triangles()
        return lower @ upper

    def extra_repr(self) -> str:
        return f"{len(self.factors)}"

    def _triangles(self) -> tuple[Tensor, Tensor, Tensor]:
        factors = at_least_float32(self.factors)
        diagonal = factors.diagonal()
        lower = factors.tril(-1) + torch.eye(len(factors), dtype=factors.dtype, device=factors.device)
        return lower, factors.triu(1) + torch.diag(diagonal.exp()), diagonal.sum()


class Rotation(Linear):
    """W = exp(A − Aᵀ): any rotation; its inverse is its transpose and its log-determinant is zero.

    `generator` (features, features) is A; it starts at random, so that the rotation mixes at once.

    >>> rotation = Rotation(2)
    >>> z, log_det = rotation(torch.tensor([[3.0, 4.0]]))
    >>> torch.testing.assert_close(z.norm(), torch.tensor(5.0))
    """

    def __init__(self, features: int):
        super().__init__()
        self.generator = nn.Parameter(torch.randn(features, features))

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        rotation = self.matrix()
        return _mixed(lambda columns: rotation @ columns, x), _everywhere(rotation.new_zeros(()), x)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        rotation = self.matrix()
        return _mixed(lambda columns: rotation.T @ columns, z), _everywhere(rotation.new_zeros(()), z)

    def matrix(self) -> Tensor:
        generator = at_least_float32(self.generator)
        return torch.linalg.matrix_exp(generator - generator.T)

    def extra_repr(self) -> str:
        return f"{len(self.generator)}"


def _mixed(change: Callable[[Tensor], Tensor], x: Events) -> Events:
    """`change` of x's columns, (features, n), one for each place of each event; in x's precision under autocast too."""
    columns = at_least_float32(x).transpose(0, 1)
    with without_autocast(x):
        return change(columns.flatten(1)).reshape(columns.shape).transpose(0, 1)


def _everywhere(log_det: Tensor, x: Events) -> PerSample:
    """The log-determinant of one place -> of the events, (batch,)."""
    return (x[0, 0].numel() * log_det).expand(len(x))

"""The divergence ∇·v = tr(dv/dx) of a velocity, which is the rate of change of a continuous flow's log-determinant.

With J = dv/dx, in forward mode,

    ∇·v = Σ_i e_iᵀ J e_i        over the basis: exact
    ∇·v = E[εᵀ J ε]             over random probes ε of mean 0 and covariance 1: Hutchinson's estimate

Hutchinson 1989; Grathwohl et al. 2019 (FFJORD), arXiv:1810.01367. A probe is fixed for a whole solve: drawn anew at
every time, it would be noise that no step size resolves.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.networks import Velocity
from pushforward.randomness import Keyed, Source, draw, hashed
from pushforward.shapes import Events, PerSample, sum_event


class Divergence(ABC):
    """The contract of a way to compute the divergence: a frozen dataclass."""

    exact: ClassVar[bool]  # False where it is an estimate

    @abstractmethod
    def probes(self, x: Events, generator: Source = None) -> Tensor | None:
        """The random probes of a solve that starts at x, (batch, n, *event); None where there are none.

        Without a generator those of a row are a function of its values, so they do not depend on its batch.
        """

    @abstractmethod
    def tangents(self, x: Events, probes: Tensor | None) -> Iterator[tuple[Tensor, float]]:
        """Tangents (n, 1 or batch, *event), some at a time, and their weight."""

    def __call__(
        self, net: Velocity, x: Events, t: PerSample, context: Context | None, probes: Tensor | None
    ) -> tuple[Events, PerSample]:
        """v and ∇·v at (x, t), in closed form where the network has one and the divergence is exact."""
        closed = net.with_divergence(x, t, context) if self.exact else None
        if closed is not None:
            return closed
        v, divergence, _ = self.pushed(net, x, t, context, probes)
        return v, divergence

    def pushed(
        self, net: Velocity, x: Events, t: PerSample, context: Context | None, probes: Tensor | None
    ) -> tuple[Events, PerSample, PerSample]:
        """v, ∇·v and the squared Frobenius norm of J: weighted sums of pᵀ J p and |J p|² over tangents p."""

        def push(tangent: Tensor) -> tuple[Events, PerSample, PerSample]:
            tangent = tangent.expand_as(x)
            value: Any = torch.func.jvp(lambda x: net(x, t, context), (x,), (tangent,))
            v, change = value
            return v, sum_event(tangent * change), sum_event(change.square())

        v, divergence, norm = x, 0, 0
        for tangents, weight in self.tangents(x, probes):
            pushed: Any = torch.func.vmap(push, out_dims=(None, 0, 0))  # pyright: ignore[reportArgumentType]
            v, along, squared = pushed(tangents)
            divergence, norm = divergence + weight * along.sum(0), norm + weight * squared.sum(0)
        return v, divergence, norm  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class ExactDivergence(Divergence):
    """Σ_i e_iᵀ J e_i, from products J e_i for `chunk` basis vectors at a time: one for each element of an event.

    A larger chunk takes fewer calls and more memory. Networks with a closed form need no products.
    """

    exact: ClassVar[bool] = True

    chunk: int = 64

    def __post_init__(self):
        check_number(self.chunk, "chunk, in basis vectors,", least=1)

    def probes(self, x: Events, generator: Source = None) -> None:
        return None

    def tangents(self, x: Events, probes: Tensor | None) -> Iterator[tuple[Tensor, float]]:
        elements = x.shape[1:].numel()
        for start in range(0, elements, self.chunk):
            some = torch.zeros(min(self.chunk, elements - start), elements, dtype=x.dtype, device=x.device)
            some.diagonal(start).fill_(1)
            yield some.reshape(-1, 1, *x.shape[1:]), 1.0


@dataclass(frozen=True)
class Hutchinson(Divergence):
    """The mean of εᵀ J ε over random probes ε: unbiased, at one product J ε for each.

    With S = (J + Jᵀ) / 2 the variance of one probe is 2 (|S|² − Σ S_ii²) for Rademacher probes, of elements ±1, and
    2 |S|² for Gaussian ones. Log-densities are then estimates, and their exponentials are biased upwards. Without a
    generator the probes of a row are a function of `seed` and of the row's values.
    """

    exact: ClassVar[bool] = False

    probes_per_row: int = 1
    distribution: Literal["rademacher", "gaussian"] = "rademacher"
    seed: int = 0

    def __post_init__(self):
        check_number(self.probes_per_row, "probes_per_row", least=1)
        if self.distribution not in ("rademacher", "gaussian"):
            raise ValueError(f'probes are "rademacher" or "gaussian"; got distribution={self.distribution!r}.')

    def probes(self, x: Events, generator: Source = None) -> Tensor:
        keyed = generator is None and not x.is_meta
        source = Keyed(self.seed, rows=hashed(x)) if keyed else generator
        shape = (x.shape[0], self.probes_per_row, *x.shape[1:])
        if self.distribution == "gaussian":
            return draw(torch.randn, shape, x, source)
        return torch.where(draw(torch.rand, shape, x, source) < 0.5, -1.0, 1.0).to(x.dtype)

    def tangents(self, x: Events, probes: Tensor | None) -> Iterator[tuple[Tensor, float]]:
        assert probes is not None
        yield probes.movedim(1, 0), 1 / self.probes_per_row

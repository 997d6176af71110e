"""NSF = MLP × rational-quadratic spline × coupling, or masked MLP × the same × autoregressive.

An `LU` map, which starts as the identity, mixes the features before each step and after the last. Couplings move the
two halves of a random split in turn; autoregressive steps have the features in order and in reverse order, in turn.
Networks are residual. Durkan et al. 2019, "Neural Spline Flows", arXiv:1906.04032. Here an untrained
spline is the identity; there it is only near it.

Splines are the identity outside of their bounds, so they cannot scale a feature by another there, as heavy tails and
funnels need. `move=Composed(Affine(), RationalQuadraticSpline())` can: each step is then affine, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.moves import Elementwise, RationalQuadraticSpline
from pushforward.transform import Transform
from pushforward.transforms import LU, Flip, Permuted, scattered


@dataclass(frozen=True, kw_only=True)
class NSF(VectorModel):
    """The configuration of a neural spline flow; `build()` makes the flow.

    >>> NSF(features=6, context=2, autoregressive=True).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    autoregressive: bool = False
    transforms: int = 5
    move: Elementwise = RationalQuadraticSpline(bins=8, bound=5.0)

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.transforms):
            yield LU(self.features)
            if self.autoregressive:
                step = self.masked_step(self.move, residual=True)
                yield Permuted(Flip(), step) if i % 2 else step
            else:
                split = scattered(self.features, seed=i // 2, swapped=i % 2 == 1)
                yield self.coupling_step(self.move, split, residual=True)
        yield LU(self.features)

"""NSF = MLP × rational-quadratic spline × coupling, or masked MLP × the same × autoregressive.

Before each step the numbers are permuted at random and mixed by an `LU` map, which starts as the identity; a last map
follows. Networks are residual. Durkan et al. 2019, "Neural Spline Flows", arXiv:1906.04032. There an untrained spline
is not quite the identity; here it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.moves import RationalQuadraticSpline
from pushforward.transform import Transform
from pushforward.transforms import LU, alternating, shuffled


@dataclass(frozen=True, kw_only=True)
class NSF(VectorModel):
    """The configuration of a neural spline flow; `build()` makes the flow.

    >>> NSF(features=6, context=2, autoregressive=True).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    autoregressive: bool = False
    steps: int = 5
    move: RationalQuadraticSpline = RationalQuadraticSpline(bins=8, bound=5.0)

    def transforms(self) -> Iterator[Transform]:
        for i in range(self.steps):
            yield shuffled(self.features, seed=i)
            yield LU(self.features)
            if self.autoregressive:
                yield self.masked_step(self.move, residual=True)
            else:
                yield self.coupling_step(self.move, alternating(self.features, swapped=i % 2 == 1), residual=True)
        yield LU(self.features)

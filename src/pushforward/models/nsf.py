"""NSF = MLP × rational-quadratic spline × coupling, or masked MLP × the same × autoregressive.

An `LU` map, which starts as the identity, mixes the features before each step and after the last. Couplings move the
two halves of a random split in turn; autoregressive steps have the features in order and in reverse order, in turn.
Networks are residual. Durkan et al. 2019, "Neural Spline Flows", arXiv:1906.04032. Here an untrained
spline is the identity; there it is only near it.

With a vector condition, features lose their linear regression on it in a last step: a spline shifts a feature by its
bins alone, and learns few rows by heart before it knows a line. So the untrained flow is a linear regression with
normal residuals. The step comes last, where features are near normal; before the splines it would blur values that
repeat. There is none with `regression=False`, nor with `robust=True`.

Splines are the identity outside of their bounds, so they cannot scale a feature by another there, as heavy tails and
funnels need. `move=Composed(Affine(), RationalQuadraticSpline())` can: each step is then affine, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.moves import Elementwise, RationalQuadraticSpline
from pushforward.transform import Transform
from pushforward.transforms import LU, Flip, Permuted, Regression, scattered


@dataclass(frozen=True, kw_only=True)
class NSF(VectorModel):
    """The configuration of a neural spline flow; `build()` makes the flow.

    >>> NSF(features=6, context=2, autoregressive=True).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    autoregressive: bool = False
    transforms: int = 5
    move: Elementwise = RationalQuadraticSpline(bins=8, bound=5.0)
    regression: bool = True  # of features on the vector condition

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
        if self.context and self.regression and not self.robust:
            yield Regression(self.features, self.context)

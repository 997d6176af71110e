"""NICE = MLP × shift × coupling.

    z_kept = x_kept        z_moved = x_moved − m(x_kept)

Couplings move the two halves in turn, and preserve volume. After the last, a scale for each feature changes volume. The
base is logistic. Dinh et al. 2015, "NICE: Non-linear Independent Components Estimation", arXiv:1410.8516. There the
scaling has no shift; here it is an `ActNorm`, which `flow.initialize` sets from data.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.bases import StandardLogistic
from pushforward.models.vector import VectorModel
from pushforward.moves import Shift
from pushforward.transform import Transform
from pushforward.transforms import ActNorm, halves


@dataclass(frozen=True, kw_only=True)
class NICE(VectorModel):
    """The configuration of a NICE; `build()` makes the flow.

    >>> NICE(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    base = StandardLogistic

    transforms: int = 4  # couplings

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.transforms):
            yield self.coupling_step(Shift(), halves(self.features, swapped=i % 2 == 1))
        yield ActNorm(self.features)

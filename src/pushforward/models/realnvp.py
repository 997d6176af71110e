"""Real NVP = MLP × affine × coupling.

    z_kept = x_kept        z_moved = (x_moved − t(x_kept)) · exp(−s(x_kept))

Odd and even numbers take turns. An `ActNorm` after each coupling stands for the paper's batch normalisation, in which
an event's density depends on its batch. s is bounded: without that, deep flows overflow. Dinh et al. 2017, "Density
estimation using Real NVP", arXiv:1605.08803; for vectors as in Papamakarios et al. 2017, arXiv:1705.07057.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.moves import Affine, SoftClip
from pushforward.transform import Transform
from pushforward.transforms import ActNorm, alternating


@dataclass(frozen=True, kw_only=True)
class RealNVP(VectorModel):
    """The configuration of a Real NVP for vectors; `build()` makes the flow.

    >>> RealNVP(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    steps: int = 8  # couplings
    move: Affine = Affine(SoftClip())  # log-scales within ±log 1000

    def transforms(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.steps):
            yield self.coupling_step(self.move, alternating(self.features, swapped=i % 2 == 1))
            yield ActNorm(self.features)

"""Circular NSF = MLP of angles × circular spline × coupling: densities on a torus.

Every number is an angle, in [−π, π) unless `supports` says what a full turn is, and so is the latent, uniformly
distributed. The network reads cosines and sines, so that the density is as smooth across the cut as elsewhere; the
spline turns by a phase of its own. Rezende et al. 2020, "Normalizing Flows on Tori and Spheres", arXiv:2002.02428.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.bases import UniformAngle
from pushforward.models.vector import VectorModel
from pushforward.moves import CircularSpline
from pushforward.networks import MLP, OfAngles
from pushforward.transform import Transform
from pushforward.transforms import Angles, Coupling, Interval, scattered


@dataclass(frozen=True, kw_only=True)
class CircularNSF(VectorModel):
    """The configuration of a circular NSF; `build()` makes the flow.

    >>> CircularNSF(features=6, context=2).build().sample((), torch.zeros(4, 2)).abs().max() <= torch.pi
    tensor(True)
    """

    base = UniformAngle

    steps: int = 6  # couplings; the halves that move in one are kept in the next
    bins: int = 8

    def transforms(self) -> Iterator[Transform]:
        move, turn = CircularSpline(self.bins), (Interval(-math.pi, math.pi),) * self.features
        yield Angles(self.supports or turn)
        for i in range(self.steps):
            split = scattered(self.features, seed=i // 2, swapped=i % 2 == 1)
            raw = move.raw_shape(split.moved)
            net = MLP(2 * split.kept, raw, hidden=self.hidden, residual=True, project=self.project())
            yield Coupling(OfAngles(net), move, split)
        yield Angles(turn)

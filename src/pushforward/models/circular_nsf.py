"""Circular NSF = MLP of angles × circular spline × coupling: densities on a torus, and on a torus times a real space.

Features are angles in [−π, π), or what `supports` says. Latents of angles are uniform on the circle, and angles move by
circular splines with a rotation. Latents on the real line are normal, and move by splines with linear tails. Networks
read cosines and sines of angles, so the density is smooth where the circle closes. Rezende et al. 2020,
"Normalizing Flows on Tori and Spheres", arXiv:2002.02428; splines on the line as in Durkan et al. 2019,
arXiv:1906.04032.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.moves import CircularSpline, Concatenated, RationalQuadraticSpline
from pushforward.networks import MLP, OfAngles
from pushforward.transform import Transform
from pushforward.transforms import (
    ActNorm,
    Circle,
    Coupling,
    Interval,
    Masked,
    Permutation,
    Split,
    Unconstrain,
    shuffled,
)


@dataclass(frozen=True, kw_only=True)
class CircularNSF(VectorModel):
    """The configuration of a circular NSF; `build()` makes the flow.

    >>> CircularNSF(features=6, context=2).build().sample((), torch.zeros(4, 2)).abs().max() <= torch.pi
    tensor(True)
    >>> from pushforward.transforms import Circle, Integers, Interval
    >>> CircularNSF(features=3, supports=(Interval(0), Circle(0, 360), Integers(0, 9))).build().sample(4).shape
    torch.Size([4, 3])
    """

    support = Circle()

    transforms: int = 6  # couplings: they move the two halves of a random split in turn
    bins: int = 8

    def assemble(self) -> Iterator[Transform]:
        supports = self.supports or (self.support,) * self.features
        order = sorted(range(self.features), key=lambda i: not isinstance(supports[i], Circle))  # angles first
        angles, others = self.circles, self.features - self.circles
        yield Unconstrain(supports)
        if 0 < angles < self.features:
            yield Permutation(order)
        if others:
            units = ActNorm(others, learned=False, robust=self.robust)
            yield Masked(Split(Permutation(range(self.features)), angles, others), units) if angles else units
        for i in range(self.transforms):
            yield self._step(shuffled(self.features, seed=i // 2).order, swapped=i % 2 == 1)
        yield Unconstrain((Circle(),) * angles + (Interval(),) * others)

    def _step(self, order: tuple[int, ...], *, swapped: bool) -> Coupling:
        """Angles have the lowest indices, so sorting puts them first in either half."""
        half = self.features // 2
        kept, moved = sorted(order[:half]), sorted(order[half:])
        if swapped:
            kept, moved = moved, kept
        kept_angles, moved_angles = (sum(i < self.circles for i in part) for part in (kept, moved))
        move = Concatenated(moved_angles, CircularSpline(self.bins), RationalQuadraticSpline(self.bins))
        net = MLP(
            len(kept) + kept_angles,
            move.raw_shape(len(moved)),
            hidden=self.hidden,
            residual=True,
            context_encoder=self.context_encoder(),
        )
        return Coupling(OfAngles(net, kept_angles), move, Split(Permutation(kept + moved), len(kept), len(moved)))

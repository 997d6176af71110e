"""FFJORD = velocity network × its own flow × continuous.

dx/dt = v(x, t) from noise, at time 0, to data, at time 1. Every feature may depend on every other, and the
log-determinant is the integral of the divergence: exact up to 64 features by default, estimated beyond. Training solves
the equation for every batch. Grathwohl et al. 2019, "FFJORD: Free-form Continuous Dynamics for Scalable Reversible
Generative Models", arXiv:1810.01367. Its layers are gated by the time ("concatsquash"); here the time is added.
The penalty on the kinetic energy is that of Finlay et al. 2020 (RNODE), arXiv:2002.02798.
"""

from dataclasses import dataclass

from pushforward.models.continuous import VectorContinuous
from pushforward.objectives import ContinuousLikelihood, ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class FFJORD(VectorContinuous):
    """The configuration of an FFJORD; `build()` makes the flow.

    >>> FFJORD(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    objective: ObjectiveConfig | None = ContinuousLikelihood()

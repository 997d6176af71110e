"""The base class of models of vectors with one continuous transform, which differ in how they are trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.networks import Velocity, VelocityMLP
from pushforward.objectives import ObjectiveConfig
from pushforward.solve import Divergence, Dopri5, ExactDivergence, Hutchinson, ODESolver
from pushforward.transform import Transform
from pushforward.transforms import Continuous

EXACT = 64  # features up to which the divergence is exact by default


@dataclass(frozen=True, kw_only=True)
class ContinuousModel(VectorModel):
    """A flow over vectors: units, and the flow of a velocity network. Each model names its `objective`."""

    hidden: tuple[int, ...] = (128, 128)  # with one or two layers the exact divergence costs as much as a pass
    residual: bool = False
    solve: ODESolver = Dopri5()
    divergence: Divergence | None = None  # None: exact up to 64 features, else Hutchinson's estimate

    @property
    @abstractmethod
    def objective(self) -> ObjectiveConfig:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How its flow is trained: a field."""

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        default = ExactDivergence() if self.features <= EXACT else Hutchinson()
        yield Continuous(self.network(), solve=self.solve, divergence=self.divergence or default)

    def network(self) -> Velocity:
        """The network of the continuous transform."""
        return self.velocity()

    def velocity(self) -> VelocityMLP:
        return VelocityMLP(
            self.features, hidden=self.hidden, residual=self.residual, context_encoder=self.context_encoder()
        )

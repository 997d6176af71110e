"""The base classes of models with one continuous transform, which differ in how they are trained.

On vectors the velocity is an MLP after units, on images a U-Net or a transformer over patches of the pixels as they
are, on [−1, 1].
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from pushforward.models.image import ImageModel
from pushforward.models.model import Model
from pushforward.models.vector import VectorModel
from pushforward.networks import UNetOptions, Velocity, VelocityMLP, ViTOptions
from pushforward.solve import Divergence, Dopri5, ExactDivergence, Hutchinson, ODESolver
from pushforward.transform import Transform
from pushforward.transforms import Continuous

EXACT = 64  # elements up to which the divergence is exact by default


@dataclass(frozen=True, kw_only=True)
class ContinuousModel(Model):
    """The flow of a velocity network. Each model has an `objective`, a field."""

    solve: ODESolver = Dopri5()
    divergence: Divergence | None = None  # None: exact up to 64 elements, else Hutchinson's estimate

    @abstractmethod
    def velocity(self, *, times: int = 1, encoder: nn.Module | None = None) -> Velocity:
        """A fresh velocity network that is told so many times. `encoder` is that of its context; None: a fresh one."""

    def network(self) -> Velocity:
        """The network of the continuous transform."""
        return self.velocity()

    def continuous(self, elements: int) -> Continuous:
        """The transform of events of so many elements."""
        return Continuous(self.network(), solve=self.solve, divergence=self.divergence or default_for(elements))


@dataclass(frozen=True, kw_only=True)
class VectorContinuous(ContinuousModel, VectorModel):
    """A continuous flow over vectors, after units."""

    hidden: tuple[int, ...] = (128, 128)  # with one or two layers the exact divergence costs as much as a pass
    residual: bool = False
    frequency: float | None = None  # of sines in the first layer, for densities with edges; None: swish

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        yield self.continuous(self.features)

    def velocity(self, *, times: int = 1, encoder: nn.Module | None = None) -> VelocityMLP:
        encoder = encoder or self.context_encoder()
        return VelocityMLP(
            self.features,
            hidden=self.hidden,
            residual=self.residual,
            frequency=self.frequency,
            times=times,
            context_encoder=encoder,
        )


@dataclass(frozen=True, kw_only=True)
class ImageContinuous(ContinuousModel, ImageModel):
    """A continuous flow over images."""

    net: UNetOptions | ViTOptions = UNetOptions()

    def small(self) -> Model:
        divergence = self.divergence or default_for(self.elements)
        return replace(self, image=self.miniature, net=self.net.small(), divergence=divergence)

    @property
    def elements(self) -> int:
        """Of an image."""
        channels, height, width = self.image
        return channels * height * width

    def assemble(self) -> Iterator[Transform]:
        yield self.continuous(self.elements)

    def velocity(self, *, times: int = 1, encoder: nn.Module | None = None) -> Velocity:
        return self.net.build(self.image, lambda width: encoder or self.context_encoder(width), times=times)


def default_for(elements: int) -> Divergence:
    """The divergence for events of so many elements."""
    return ExactDivergence() if elements <= EXACT else Hutchinson()

"""Flow map = velocity network and its average × its own flow × continuous, trained by self-distillation or MeanFlow.

Densities are those of the velocity, and as exact as those of `FlowMatching`. Samples are too, by default; with
`sample(…, solve=Jumps(n))` they are made in n passes of a second network that has learned the trajectories, one to four
of them as a rule, and are then approximate. Boffi et al. 2025, arXiv:2505.18825, "Lagrangian self-distillation"; with
`objective=MeanFlow()` Geng et al. 2025, arXiv:2505.13447.
"""

from dataclasses import dataclass

from pushforward.models.continuous import ContinuousModel, ImageContinuous, VectorContinuous
from pushforward.models.vector_or_image import VectorOrImage
from pushforward.networks import Encoded, FlowMapNet, Velocity
from pushforward.objectives import ObjectiveConfig, SelfDistillation


@dataclass(frozen=True, kw_only=True)
class FlowMap(VectorOrImage, ContinuousModel):
    """A flow map of vectors where `features` is given, of images (C, H, W) where `image` is.

    >>> from pushforward.solve import Jumps
    >>> FlowMap(features=6, classes=3).build().sample((), torch.arange(3), solve=Jumps(1)).shape
    torch.Size([3, 6])
    """

    objective: ObjectiveConfig | None = SelfDistillation()

    def network(self) -> Velocity:
        return FlowMapNet(self.velocity(), self.velocity(times=2, encoder=Encoded()))


@dataclass(frozen=True, kw_only=True)
class VectorFlowMap(FlowMap, VectorContinuous):
    """The configuration of a `FlowMap` of vectors; `build()` makes the flow."""


@dataclass(frozen=True, kw_only=True)
class ImageFlowMap(FlowMap, ImageContinuous):
    """The configuration of a `FlowMap` of images; `build()` makes the flow."""

"""Flow matching = velocity network × its own flow × continuous, trained by regression.

The velocity is learned along straight lines from noise to data, without solving a differential equation: a step of
training costs one pass of the network. Sampling and densities solve it, as those of FFJORD do. Lipman et al. 2023,
"Flow Matching for Generative Modeling", arXiv:2210.02747. Noise and data are paired

- independently in `FlowMatching`;
- by an optimal assignment within each batch in `OTFlowMatching`: Tong et al. 2024 (OT-CFM), arXiv:2302.00482;
- by the flow itself in the second round of a `RectifiedFlow`: Liu et al. 2023, arXiv:2209.03003.
"""

from dataclasses import dataclass

from pushforward.models.continuous import ContinuousModel, ImageContinuous, VectorContinuous
from pushforward.models.vector_or_image import VectorOrImage
from pushforward.objectives import Matching, MinibatchOT, ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class FlowMatching(VectorOrImage, ContinuousModel):
    """A flow that learns by flow matching: of vectors where `features` is given, of images (C, H, W) where `image` is.

    >>> FlowMatching(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    >>> from pushforward.networks import UNetOptions
    >>> FlowMatching(image=(1, 8, 8), net=UNetOptions(width=8, levels=2)).build().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """

    objective: ObjectiveConfig | None = Matching()


@dataclass(frozen=True, kw_only=True)
class VectorFlowMatching(FlowMatching, VectorContinuous):
    """The configuration of a `FlowMatching` of vectors; `build()` makes the flow."""


@dataclass(frozen=True, kw_only=True)
class ImageFlowMatching(FlowMatching, ImageContinuous):
    """The configuration of a `FlowMatching` of images; `build()` makes the flow."""


@dataclass(frozen=True, kw_only=True)
class OTFlowMatching(VectorOrImage, ContinuousModel):
    """`FlowMatching` whose noise is assigned to data within each batch. Needs SciPy: pushforward[ot].

    >>> OTFlowMatching(features=6, classes=3).build().sample((), torch.arange(3)).shape
    torch.Size([3, 6])
    """

    objective: ObjectiveConfig | None = Matching(coupling=MinibatchOT())


@dataclass(frozen=True, kw_only=True)
class VectorOTFlowMatching(OTFlowMatching, VectorContinuous):
    """The configuration of an `OTFlowMatching` of vectors; `build()` makes the flow."""


@dataclass(frozen=True, kw_only=True)
class ImageOTFlowMatching(OTFlowMatching, ImageContinuous):
    """The configuration of an `OTFlowMatching` of images; `build()` makes the flow."""


@dataclass(frozen=True, kw_only=True)
class RectifiedFlow(VectorOrImage, ContinuousModel):
    """`FlowMatching` and a round of reflow, after which few steps of Euler's method sample well.

    >>> from pushforward.solve import Euler
    >>> RectifiedFlow(features=2).build().sample(3, solve=Euler(steps=1)).shape
    torch.Size([3, 2])
    """

    objective: ObjectiveConfig | None = Matching(reflows=1)


@dataclass(frozen=True, kw_only=True)
class VectorRectifiedFlow(RectifiedFlow, VectorContinuous):
    """The configuration of a `RectifiedFlow` of vectors; `build()` makes the flow."""


@dataclass(frozen=True, kw_only=True)
class ImageRectifiedFlow(RectifiedFlow, ImageContinuous):
    """The configuration of a `RectifiedFlow` of images; `build()` makes the flow."""

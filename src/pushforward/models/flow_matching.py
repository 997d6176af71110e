"""Flow matching = velocity network × its own flow × continuous, trained by regression.

The velocity is learned along straight lines from noise to data, without solving a differential equation: a step of
training costs one pass of the network. Sampling and densities solve it, as those of FFJORD do. Lipman et al. 2023,
"Flow Matching for Generative Modeling", arXiv:2210.02747. Noise and data are paired

- independently in `FlowMatching`;
- by an optimal assignment within each batch in `OTFlowMatching`: Tong et al. 2024 (OT-CFM), arXiv:2302.00482;
- by the flow itself in the second round of a `RectifiedFlow`: Liu et al. 2023, arXiv:2209.03003.
"""

from __future__ import annotations

from dataclasses import dataclass

from pushforward.models.continuous import ContinuousModel
from pushforward.objectives import Matching, MinibatchOT, ObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class FlowMatching(ContinuousModel):
    """The configuration of a flow that learns by flow matching; `build()` makes the flow.

    >>> FlowMatching(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    objective: ObjectiveConfig = Matching()  # pyright: ignore


@dataclass(frozen=True, kw_only=True)
class OTFlowMatching(ContinuousModel):
    """`FlowMatching` whose noise is assigned to data within each batch. Needs SciPy: pushforward[ot].

    >>> OTFlowMatching(features=6, classes=3).build().sample((), torch.arange(3)).shape
    torch.Size([3, 6])
    """

    objective: ObjectiveConfig = Matching(coupling=MinibatchOT())  # pyright: ignore


@dataclass(frozen=True, kw_only=True)
class RectifiedFlow(ContinuousModel):
    """`FlowMatching` and a round of reflow, after which few steps of Euler's method sample well.

    >>> from pushforward.solve import Euler
    >>> RectifiedFlow(features=2).build().sample(3, solve=Euler(steps=1)).shape
    torch.Size([3, 2])
    """

    objective: ObjectiveConfig = Matching(reflows=1)  # pyright: ignore

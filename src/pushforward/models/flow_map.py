"""Flow map = velocity network and its average × its own flow × continuous, trained by self-distillation.

Densities are those of the velocity, and as exact as those of `FlowMatching`. Samples are too, by default; with
`sample(…, solve=Jumps(n))` they are made in n passes of a second network that has learned the trajectories, one to four
of them as a rule, and are then approximate. Boffi et al. 2025, arXiv:2505.18825, "Lagrangian self-distillation".
"""

from __future__ import annotations

from dataclasses import dataclass

from pushforward.models.continuous import ContinuousModel
from pushforward.networks import FlowMapNet, Velocity
from pushforward.objectives import ObjectiveConfig, SelfDistillation


@dataclass(frozen=True, kw_only=True)
class FlowMap(ContinuousModel):
    """The configuration of a flow map; `build()` makes the flow.

    >>> from pushforward.solve import Jumps
    >>> FlowMap(features=6, classes=3).build().sample((), torch.arange(3), solve=Jumps(1)).shape
    torch.Size([3, 6])
    """

    objective: ObjectiveConfig = SelfDistillation()  # pyright: ignore

    def network(self) -> Velocity:
        return FlowMapNet(self.velocity(), hidden=self.hidden, residual=self.residual)

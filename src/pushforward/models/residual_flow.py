"""Residual flow: z = x + g(x) for a contractive MLP g, step after step. Here every number moves every other at once.

Neither coupling nor autoregressive: the one case in which the Jacobian is full. Its determinant is computed, which
suits some tens of features, or estimated with `log_det=Roulette()`. Chen et al. 2019, "Residual Flows for Invertible
Generative Modeling", arXiv:1906.02735; Behrmann et al. 2019, arXiv:1811.00995.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.networks import ContractiveMLP
from pushforward.transform import Transform
from pushforward.transforms import ActNorm, Exact, Residual, Roulette


@dataclass(frozen=True, kw_only=True)
class ResidualFlow(VectorModel):
    """The configuration of a residual flow; `build()` makes the flow.

    >>> ResidualFlow(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    steps: int = 16
    limit: float = 0.9  # how far apart a step's g may bring what is 1 apart; the nearer to 1, the slower the way back
    log_det: Exact | Roulette = Exact()

    def transforms(self) -> Iterator[Transform]:
        yield from self.units()
        for _ in range(self.steps):
            net = ContractiveMLP(
                self.features, hidden=self.hidden, limit=self.limit, context_encoder=self.context_encoder()
            )
            yield Residual(net, log_det=self.log_det)
            yield ActNorm(self.features)

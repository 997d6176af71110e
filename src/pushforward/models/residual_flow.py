"""Residual flow: steps z = x + g(x), where g is a contractive MLP.

Neither coupling nor autoregressive: the Jacobian is full. Its log-determinant is exact by default, at a
cost of features³, which suits some tens of features; `log_det=Roulette()` estimates it. Chen et al. 2019, "Residual
Flows for Invertible Generative Modeling", arXiv:1906.02735; Behrmann et al. 2019, arXiv:1811.00995.
"""

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

    transforms: int = 16
    limit: float = 0.9  # Lipschitz constant of g, below 1; the inverse is slower near 1
    log_det: Exact | Roulette = Exact()

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        for _ in range(self.transforms):
            net = ContractiveMLP(
                self.features, hidden=self.hidden, limit=self.limit, context_encoder=self.context_encoder()
            )
            yield Residual(net, log_det=self.log_det)
            yield ActNorm(self.features)

"""Maximum likelihood of continuous flows, with penalties that keep their dynamics easy to solve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.codecs import Codec, Identity
from pushforward.conditions import Context, Given
from pushforward.flow import Flow
from pushforward.objectives.objective import Dropout, Objective, ObjectiveConfig, check_dropout, with_dropout
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample
from pushforward.solve import Divergence, Dopri5, ODESolver
from pushforward.transform import flattened, solved_by
from pushforward.transforms import Continuous


@dataclass(frozen=True, kw_only=True)
class ContinuousLikelihood(ObjectiveConfig):
    """Maximum likelihood of a flow with continuous transforms: builds a `PenalisedLikelihood`.

    In training `solve` and `divergence` take the place of the transforms' own, which score and sample afterwards.
    """

    solve: ODESolver | None = Dopri5(rtol=1e-3, atol=1e-3)  # None: the transforms' own
    divergence: Divergence | None = None  # None: the transforms' own
    kinetic: float = 0.01  # weight of the kinetic energy
    jacobian: float = 0.0  # weight of the squared Frobenius norm of the Jacobian: a product J ε a probe
    condition_dropout: Dropout = 0.0  # as of `MaximumLikelihood`

    def __post_init__(self):
        check_number(self.kinetic, "kinetic", least=0)
        check_number(self.jacobian, "jacobian", least=0)
        check_dropout(self.condition_dropout)

    def build(self, flow: Flow, codec: Codec) -> PenalisedLikelihood:
        return PenalisedLikelihood(flow, codec, self)


class PenalisedLikelihood(Objective):
    """Maximum likelihood with RNODE's penalties on every continuous transform of the chain.

        loss = mean of w · (−bound on log P + kinetic · ½ ∫ |v|² dt + jacobian · ∫ |dv/dx|² dt) / elements

    The first penalty shortens trajectories and the second smooths the velocity, so that solvers take fewer steps. The
    score that is logged is that of the bound alone, by the solver of training. Finlay et al. 2020 (RNODE),
    arXiv:2002.02798, whose weights are 0.01, of means over elements too.
    """

    def __init__(self, flow: Flow, codec: Codec = Identity(), config: ContinuousLikelihood = ContinuousLikelihood()):
        super().__init__()
        self.flow, self.codec, self.config = flow, codec, config
        self.unit = codec.unit
        if not any(isinstance(part, Continuous) for part in flattened(flow.transform)):
            raise ValueError(
                "this objective penalises continuous transforms, and the flow has none: maximise likelihood."
            )

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, log_q = self.codec.encode(data, generator)
        rows = self.flow.embedded(with_dropout(self.flow, x, context, self.config.condition_dropout, generator))
        z, log_det, penalty = self._integrated(x, rows, generator)
        bound = self.flow.base.log_prob(z, rows) + log_det - log_q
        cost, loss = self.codec.in_unit(bound.detach(), data), penalty - bound / x[0].numel()
        if (error := self.codec.decoding_error(x.detach(), data)) is not None:
            loss = loss + error
        if weights is not None:
            cost, loss = weights * cost, weights * loss
        return loss.mean(), {self.unit: cost.mean(), "z": z.detach()}

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        self.codec.initialize(data, generator)
        self.flow.initialize(self.codec.encode(data, generator)[0], context)

    def _integrated(self, x: Events, context: Context, generator: Source) -> tuple[Events, PerSample, PerSample]:
        """The latents, log-determinants and penalties of x."""
        config, log_det = self.config, 0
        penalty = torch.zeros(len(x), device=x.device)
        solvers = [solver for solver in (config.solve, config.divergence) if solver is not None]
        for part in flattened(solved_by(self.flow.transform, solvers)):
            if isinstance(part, Continuous):
                found = part.integrate(x, context, jacobian=config.jacobian > 0, generator=generator)
                x, change = found.value, found.log_det
                penalty = penalty + 0.5 * config.kinetic * found.kinetic
                if found.jacobian is not None:
                    penalty = penalty + config.jacobian * found.jacobian
            else:
                x, change = part(x, context)
            log_det = log_det + change
        return x, log_det, penalty  # pyright: ignore[reportReturnType]

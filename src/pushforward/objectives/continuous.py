"""Maximum likelihood of continuous flows, with penalties that keep their dynamics easy to solve."""

from dataclasses import dataclass

import torch

from pushforward.arrays import check_number
from pushforward.codecs import Codec, Identity
from pushforward.conditions import Context
from pushforward.flow import Flow
from pushforward.objectives.objective import Likelihood, MaximumLikelihood
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample
from pushforward.solve import Divergence, Dopri5, ODESolver
from pushforward.transform import flattened, solved_by
from pushforward.transforms import Continuous


@dataclass(frozen=True, kw_only=True)
class ContinuousLikelihood(MaximumLikelihood):
    """Maximum likelihood of a flow with continuous transforms: builds a `PenalisedLikelihood`.

    In training `solve` and `divergence` take the place of the transforms' own, which score and sample afterwards.
    """

    solve: ODESolver | None = Dopri5(rtol=1e-3, atol=1e-3)  # None: the transforms' own
    divergence: Divergence | None = None  # None: the transforms' own
    kinetic: float = 0.01  # weight of the kinetic energy
    jacobian: float = 0.0  # weight of the squared Frobenius norm of the Jacobian: a product J ε a probe

    def __post_init__(self):
        super().__post_init__()
        check_number(self.kinetic, "kinetic", least=0)
        check_number(self.jacobian, "jacobian", least=0)

    def build(self, flow: Flow, codec: Codec) -> Likelihood:
        return PenalisedLikelihood(flow, codec, self)


class PenalisedLikelihood(Likelihood):
    """Maximum likelihood as by `Likelihood`, plus RNODE's penalties on every continuous transform of the chain:

        (kinetic · ½ ∫ |v|² dt + jacobian · ∫ |dv/dx|² dt) / elements

    The first penalty shortens trajectories and the second smooths the velocity, so that solvers take fewer steps. The
    score that is logged is that of the bound alone, by the solver of training. Finlay et al. 2020 (RNODE),
    arXiv:2002.02798, whose weights are 0.01, of means over elements too. Raises ValueError where the flow has no
    continuous transform.
    """

    def __init__(self, flow: Flow, codec: Codec = Identity(), config: ContinuousLikelihood = ContinuousLikelihood()):
        super().__init__(flow, codec, condition_dropout=config.condition_dropout)
        self.config = config
        if not any(isinstance(part, Continuous) for part in flattened(flow.transform)):
            raise ValueError(
                "this objective penalises continuous transforms, and the flow has none: maximise likelihood."
            )

    def terms(self, x: Events, context: Context, generator: Source = None) -> tuple[PerSample, Events, PerSample]:
        config, rows = self.config, self.flow.embedded(context)
        log_det, penalty = 0, torch.zeros(len(x), device=x.device)
        solvers = [solver for solver in (config.solve, config.divergence) if solver is not None]
        for part in flattened(solved_by(self.flow.transform, solvers)):
            if isinstance(part, Continuous):
                found = part.integrate(x, rows, jacobian=config.jacobian > 0, generator=generator)
                x, change = found.value, found.log_det
                penalty = penalty + 0.5 * config.kinetic * found.kinetic
                if found.jacobian is not None:
                    penalty = penalty + config.jacobian * found.jacobian
            else:
                x, change = part(x, rows)
            log_det = log_det + change
        return self.flow.base.log_prob(x, rows) + log_det, x, penalty

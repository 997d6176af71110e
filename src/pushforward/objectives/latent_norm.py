"""Maximum likelihood with a penalty on what a flow makes of its events on the way to the latent."""

from dataclasses import dataclass

from pushforward.arrays import check_number
from pushforward.codecs import Codec, Identity
from pushforward.conditions import Context
from pushforward.flow import Flow
from pushforward.objectives.objective import Dropout, Likelihood, MaximumLikelihood
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample, sum_event
from pushforward.transform import Triangular, trace
from pushforward.transforms import Reversible, rearranges


@dataclass(frozen=True, kw_only=True)
class LatentNorm(MaximumLikelihood):
    """Maximum likelihood with a penalty on the squares of intermediate values: builds a `LatentNormLikelihood`."""

    weight: float = 1e-4  # that of STARFlow's text-to-image model

    def __post_init__(self):
        super().__post_init__()
        check_number(self.weight, "weight", least=0)

    def build(self, flow: Flow, codec: Codec) -> Likelihood:
        return LatentNormLikelihood(flow, codec, condition_dropout=self.condition_dropout, weight=self.weight)


class LatentNormLikelihood(Likelihood):
    """Maximum likelihood as by `Likelihood`, plus the penalty of latent norms:

        weight · Σ_k mean over elements of h_k²,        k = 0 … n − 1

    h_0 is the event x, and h_k what the k-th of the flow's n steps makes of it. The last one, h_n = z, is left out: the
    base keeps its norm. Steps that only rearrange elements do not count. The penalty keeps the scales of steps from
    growing in one and shrinking in the next. It is not in the score that is logged. Gu et al. 2025 (STARFlow),
    arXiv:2506.06276. Raises ValueError in a reversible chain, which does not keep these values.
    """

    def __init__(
        self, flow: Flow, codec: Codec = Identity(), *, condition_dropout: Dropout = 0.0, weight: float = 1e-4
    ):
        super().__init__(flow, codec, condition_dropout=condition_dropout)
        self.weight = weight

    def terms(self, x: Events, context: Context, generator: Source = None) -> tuple[PerSample, Events, PerSample]:
        rows, z = self.flow.embedded(context), x
        log_det = norms = x.new_zeros(len(x))
        for transform, value, log_slopes in trace(self.flow.transform, x, rows):
            if isinstance(transform, Reversible):
                raise ValueError("a reversible chain keeps no intermediate values to penalise: train without it.")
            if not rearranges(transform):
                norms = norms + z.square().flatten(1).mean(1)
                log_det = log_det + (sum_event(log_slopes) if isinstance(transform, Triangular) else log_slopes)
            z = value
        return self.flow.base.log_prob(z, rows) + log_det, z, self.weight * norms

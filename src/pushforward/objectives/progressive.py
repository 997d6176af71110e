"""Progressive training: one step of a flow after the other, those before it frozen.

Zhang et al. 2025 (TarFlowLM), arXiv:2507.00425.
"""

from dataclasses import dataclass

from torch import Tensor, distributed

from pushforward.codecs import Codec, Identity
from pushforward.conditions import Context, Given
from pushforward.data import Data
from pushforward.flow import Flow
from pushforward.objectives.objective import Dropout, Likelihood, MaximumLikelihood, frozen
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample
from pushforward.transform import Chain, Transform


@dataclass(frozen=True, kw_only=True)
class Progressive(MaximumLikelihood):
    """Maximum likelihood, one step of the flow after the other: builds a `ProgressiveLikelihood`."""

    def build(self, flow: Flow, codec: Codec) -> Likelihood:
        return ProgressiveLikelihood(flow, codec, condition_dropout=self.condition_dropout)


class ProgressiveLikelihood(Likelihood):
    """Maximum likelihood in rounds, one for each part of a chain that has weights, from the data on.

    Round k trains part k. The parts after it are left out, so that its outputs have the base's density; the weights of
    those before it are fixed, and after the first round those of the codec. Each round has all steps of the plan.
    Raises ValueError where the flow is no chain of such parts, or its base is not standard normal, and in training by
    several processes.
    """

    def __init__(
        self, flow: Flow, codec: Codec = Identity(), *, condition_dropout: Dropout = 0.0, finished: int = 0
    ) -> None:
        super().__init__(flow, codec, condition_dropout=condition_dropout)
        parts = [*flow.transform] if isinstance(flow.transform, Chain) else []
        places = [i for i, part in enumerate(parts) if any(True for _ in part.parameters())]
        if len(places) < 2 or not flow.base.standard:
            raise ValueError(
                "progressive training is of a chain of two parts or more that have weights, with a standard normal "
                f"base; this flow has {len(places)} and a {type(flow.base).__name__}."
            )
        self.finished, self.rounds, self.end = finished, len(places) - finished, places[finished] + 1

    def check(self, data: Data) -> None:
        super().check(data)
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            raise ValueError("progressive training is of one process, since most weights have no gradient in a round.")

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        finished = (self.codec, *self._parts()[:-1]) if self.finished else ()
        with frozen(*finished):
            return super().forward(data, context, generator, weights)

    def terms(
        self, x: Events, context: Context, generator: Source = None
    ) -> tuple[PerSample, Events | None, PerSample | None]:
        return self.flow.with_transform(Chain(*self._parts())).log_prob(x, context), None, None

    def following(self) -> Likelihood | None:
        if self.rounds == 1:
            return None
        dropout, finished = self.condition_dropout, self.finished + 1
        return ProgressiveLikelihood(self.flow, self.codec, condition_dropout=dropout, finished=finished)

    def _parts(self) -> list[Transform]:
        """Those that are trained already, and the one that is trained now."""
        transform = self.flow.transform
        assert isinstance(transform, Chain)
        return [*transform][: self.end]

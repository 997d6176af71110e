"""Maximum likelihood at every level of noise, for a flow that is told the level."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.codecs import Codec, Identity
from pushforward.conditions import Context, Given, NoiseLevel, by_name
from pushforward.flow import Flow
from pushforward.objectives.objective import (
    Dropout,
    Likelihood,
    MaximumLikelihood,
    check_fixed,
    weighted,
    with_dropout,
)
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, spread


@dataclass(frozen=True, kw_only=True)
class NoiseLevels(MaximumLikelihood):
    """Maximum likelihood at every level of noise: builds a `LeveledLikelihood`."""

    def build(self, flow: Flow, codec: Codec) -> Likelihood:
        return LeveledLikelihood(flow, codec, condition_dropout=self.condition_dropout)


class LeveledLikelihood(Likelihood):
    """Maximum likelihood of x = clean + t · noise, each row at a level t that is uniform in low … high:

        loss = − mean over the batch of w · t · log p(x | context, t) / elements,        w of mean 1 over the data

    Without the factor t the low levels, whose densities are steep, dominate the gradient. The flow has a condition
    `NoiseLevel`. The codec adds the noise of the highest level, at which samples are drawn, or has none. iTARFlow 2026,
    arXiv:2604.20041. Raises ValueError for another flow or codec.
    """

    def __init__(self, flow: Flow, codec: Codec = Identity(), *, condition_dropout: Dropout = 0.0):
        check_fixed(codec)
        super().__init__(flow, codec, condition_dropout=condition_dropout)
        self.unit, self.quantity = "nats/dim", ""
        levels = {name: kind for name, kind in flow.conditions.items() if isinstance(kind, NoiseLevel)}
        if len(levels) != 1:
            raise ValueError("this objective trains a flow that is told the noise level, such as models.ITARFlow.")
        ((self.name, self.levels),) = levels.items()
        if codec.noise_sigma not in (None, self.levels.high):
            raise ValueError(
                f"samples are drawn at the highest noise level, {self.levels.high:g}, and the codec adds noise of "
                f"{codec.noise_sigma:g}. Give both one value."
            )

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, given, t = self.noisy(data, context, generator)
        log_p, z = self.flow.log_prob_and_latent(x, given)
        log_p = weighted(log_p, weights) / x[0].numel()
        return -(t * log_p).mean(), {self.unit: -log_p.detach().mean(), "z": z.detach()}

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        self.codec.initialize(data, generator)
        self.flow.initialize(*self.noisy(data, context, generator)[:2])

    def noisy(self, data: Tensor, context: Given, generator: Source) -> tuple[Events, Context, Tensor]:
        """Events with noise, their context, and their levels (batch,)."""
        clean = self.codec.clean(data)
        u = draw(torch.rand, clean.shape[:1], clean, generator)
        t = self.levels.low + (self.levels.high - self.levels.low) * u
        x = clean + spread(t, clean) * draw(torch.randn, clean.shape, clean, generator)
        given = {**by_name(self.flow.conditions, context), self.name: t}
        return x, with_dropout(self.flow, x, given, self.condition_dropout, generator), t

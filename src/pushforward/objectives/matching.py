"""Flow matching: a velocity network learns by regression, without solving a differential equation.

    loss = E |v(x_t, t; context) − dx_t/dt|² / elements,        t uniform in 0 … 1, (z, x) from a coupling

x_t runs from noise z to data x along a path, and x is what the continuous transform reads: data after the transforms
before it, such as units. The minimum is the velocity of a flow from noise to data. Lipman et al. 2023,
arXiv:2210.02747; Liu et al. 2023 (rectified flow), arXiv:2209.03003.
"""

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.codecs import Codec, Identity
from pushforward.conditions import Given
from pushforward.data import Data
from pushforward.flow import Flow
from pushforward.objectives.couplings import Coupling, FixedPairs, Independent, Pairs, Reflowed
from pushforward.objectives.objective import (
    Dropout,
    Objective,
    ObjectiveConfig,
    check_dropout,
    check_fixed,
    with_dropout,
)
from pushforward.objectives.paths import Linear, Path
from pushforward.randomness import Source, draw
from pushforward.shapes import PerSample
from pushforward.transform import flattened
from pushforward.transforms import Continuous


@dataclass(frozen=True, kw_only=True)
class Matching(ObjectiveConfig):
    """Flow matching: builds a `VelocityRegression`.

    Each of `reflows` further rounds of training takes pairs of noise and the samples that the flow of the round before
    makes of it, on straight lines: trajectories become straighter, and a few steps of Euler's method sample well. Each
    round costs a little density.
    """

    # a step costs a pass of the network, and t is random
    plan: ClassVar = {"steps": 4000, "batch": 1024, "lr": 1e-2, "weight_decay": 1e-4}

    path: Path = Linear()
    coupling: Coupling = Independent()
    reflows: int = 0
    condition_dropout: Dropout = 0.0  # as of `MaximumLikelihood`

    def __post_init__(self):
        check_dropout(self.condition_dropout)
        if self.reflows < 0:
            raise ValueError(f"the number of reflow rounds is not negative; got reflows={self.reflows}.")

    def build(self, flow: Flow, codec: Codec) -> Objective:
        return VelocityRegression(flow, codec, self)


class VelocityRegression(Objective):
    """The mean squared error of the velocity of a flow whose last transform is `Continuous`, an element of the event.

    Its latents are standard normal. Times are spread evenly over the rows that are taken at once, and couplings pair
    these rows: in parts, or over several processes, the loss of a batch is another estimate of the same error. Raises
    ValueError where the flow is of another kind, or the codec has weights to learn.
    """

    unit = "squared error"
    scores = False

    def __init__(self, flow: Flow, codec: Codec = Identity(), config: Matching = Matching()):
        super().__init__()
        check_fixed(codec)
        self.flow, self.codec, self.config = flow, codec, config
        self.coupling, self.changes, self.rounds = config.coupling, config.coupling.waits, 1 + config.reflows
        *before, last = flattened(flow.transform)
        if not isinstance(last, Continuous) or any(isinstance(part, Continuous) for part in before):
            raise ValueError("flow matching trains a flow whose last transform, and no other, is Continuous.")
        if not flow.base.standard:
            raise ValueError(f"flow matching starts from normal noise; the base is a {type(flow.base).__name__}.")

    @property
    def continuous(self) -> Continuous:
        """The last transform, whose velocity is learned."""
        return [*flattened(self.flow.transform)][-1]  # pyright: ignore[reportReturnType]

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        error = self.errors(data, context, generator)
        if weights is not None and not isinstance(self.coupling, FixedPairs):  # its samples have the weighted density
            error = weights * error
        loss = error.mean()
        return loss, {self.unit: loss.detach()}

    def errors(self, data: Tensor, context: Given = None, generator: Source = None) -> PerSample:
        """The squared error of the velocity for each row of a batch, at random times, an element of the event."""
        pairs = self.coupling.pair(self.pairs(data, context, generator), generator)
        rows = with_dropout(self.flow, pairs.data, pairs.context, self.config.condition_dropout, generator)
        rows = self.flow.embedded(rows)
        u = draw(torch.rand, pairs.noise.shape[:1], pairs.noise, generator)
        t = (torch.arange(len(u), device=u.device) + u) / len(u)  # one in each n-th of 0 … 1: a smaller variance
        return self.error(pairs._replace(context=rows), t, generator)

    def error(self, pairs: Pairs, t: PerSample, generator: Source) -> PerSample:
        """The squared error of the velocity at times t, an element of the event."""
        x, velocity = self.config.path.point(t, pairs.noise, pairs.data)
        return (self.continuous.net(x, t, pairs.context).to(velocity) - velocity).square().flatten(1).mean(1)

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        self.codec.initialize(data, generator)
        self.flow.initialize(self.codec.encode(data, generator)[0], context)

    def check(self, data: Data) -> None:
        """Let the coupling learn what it needs from all of the data. Raises ValueError where it cannot weigh them."""
        if data.weights is not None and self.config.coupling.alike:
            raise ValueError(
                f"{type(self.config.coupling).__name__} gives every row as much noise, so weights would have no "
                "effect: couple by Independent(), as models.FlowMatching does, or draw rows by their weights."
            )
        self.coupling = self.config.coupling.learn(partial(self._rows, data))

    def following(self) -> Objective | None:
        """The next round: pairs are noise and its samples by the flow as it is now, joined by straight lines."""
        if not self.config.reflows:
            return None
        teacher = Reflowed(copy.deepcopy(self.flow).requires_grad_(False))
        config = replace(self.config, path=Linear(), coupling=teacher, reflows=self.config.reflows - 1)
        return config.build(self.flow, self.codec)

    @torch.no_grad()
    def pairs(self, data: Tensor, context: Given, generator: Source) -> Pairs:
        """These data as the continuous transform reads them, with independent noise."""
        events, _ = self.codec.encode(data, generator)
        rows = conditions.expand(self.flow.context(context), events.shape[:1])
        x, read = events, self.flow.embedded(rows)
        for part in [*flattened(self.flow.transform)][:-1]:
            x = part(x, read)[0]
        return Pairs(draw(torch.randn, x.shape, x, generator), x, events, rows)

    def _rows(self, data: Data, rows: Tensor | None = None, generator: Source = None) -> Pairs:
        """These rows of the data; or all, with noise that does not depend on the training's seed."""
        if rows is None:
            rows, generator = torch.arange(len(data), device="cpu"), torch.Generator("cpu").manual_seed(0)
        events, context = data.fetch(rows.cpu())
        return self.pairs(events.to(self.flow.device), context, generator)

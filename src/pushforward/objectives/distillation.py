"""Lagrangian self-distillation: a flow map learns the trajectories of the velocity that is learned beside it.

    loss = E |v(x_s, s) − dx_s/ds|² + E |∂_t X(x_s; s, t) − v(X(x_s; s, t), t)|²,        0 ≤ s ≤ t ≤ 1

a mean over elements. The second is zero where X follows the trajectories of v. The derivative by t is one
Jacobian-vector product; v in it is taken as it is, and gets no gradient. Boffi et al. 2025, arXiv:2505.18825.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

from pushforward.codecs import Codec, Identity
from pushforward.flow import Flow
from pushforward.networks import FlowMapNet
from pushforward.objectives.couplings import Pairs
from pushforward.objectives.matching import Matching, VelocityRegression
from pushforward.randomness import Source, draw
from pushforward.shapes import PerSample


@dataclass(frozen=True, kw_only=True)
class SelfDistillation(Matching):
    """Flow matching and Lagrangian self-distillation at once: builds a `MapRegression`."""

    def build(self, flow: Flow, codec: Codec) -> MapRegression:
        return MapRegression(flow, codec, self)


class MapRegression(VelocityRegression):
    """The errors of the velocity and of the flow map of a continuous flow whose network is a `FlowMapNet`.

    A fifth of the jumps start from noise, and a fifth go on to data. Raises ValueError where the network is another.
    """

    def __init__(self, flow: Flow, codec: Codec = Identity(), config: SelfDistillation = SelfDistillation()):
        super().__init__(flow, codec, config)
        if not isinstance(self.continuous.net, FlowMapNet):
            raise ValueError(
                f"self-distillation trains a FlowMapNet; this network is a {type(self.continuous.net).__name__}."
            )

    def error(self, pairs: Pairs, t: PerSample, generator: Source) -> PerSample:
        u = draw(torch.rand, t.shape, t, generator)
        start = (1.25 * t - 0.25).clamp(min=0)
        stop = start + (1 - start) * (1.25 * u).clamp(max=1)
        return super().error(pairs, t, generator) + self.map_error(pairs, start, stop)

    def map_error(self, pairs: Pairs, start: PerSample, stop: PerSample) -> PerSample:
        """|∂_t X − v(X, t)|² of jumps from the path at times `start`, an element of the event."""
        net, context = self.continuous.net, pairs.context
        assert isinstance(net, FlowMapNet)
        x = self.config.path.point(start, pairs.noise, pairs.data)[0]
        with torch.no_grad():
            velocity = net(x, start, context)

        def at(t: Tensor) -> Tensor:
            return net.jumped(x, velocity, start, t, context)

        end, rate, *_ = jvp(at, (stop,), (torch.ones_like(stop),))
        with torch.no_grad():
            there = net(end, stop, context)
        return (rate - there).square().flatten(1).mean(1)

"""Self-distillation: a flow map X learns the trajectories of the velocity v that is learned beside it.

    loss = E |v(x_s, s) − dx_s/ds|² + E |error(x_s; s, t)|²,        0 ≤ s ≤ t ≤ 1

a mean over elements, x_s on the path. Either error is zero where X follows the trajectories of v, and takes one
Jacobian-vector product; v in it is taken as it is, and gets no gradient.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

from pushforward.codecs import Codec, Identity
from pushforward.conditions import Context
from pushforward.flow import Flow
from pushforward.networks import FlowMapNet
from pushforward.objectives.couplings import Pairs
from pushforward.objectives.matching import Matching, VelocityRegression
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample, spread


@dataclass(frozen=True, kw_only=True)
class Distillation(Matching):
    """Flow matching, and an error of the flow map: builds a `MapRegression`."""

    def build(self, flow: Flow, codec: Codec) -> VelocityRegression:
        return MapRegression(flow, codec, self)

    @abstractmethod
    def error(
        self, net: FlowMapNet, x: Events, start: PerSample, stop: PerSample, context: Context | None = None
    ) -> Events:
        """The error, not yet squared, of jumps of x from times `start` to times `stop`."""


@dataclass(frozen=True, kw_only=True)
class SelfDistillation(Distillation):
    """Lagrangian self-distillation, by the derivative in the time of arrival:

        error = ∂_t X(x; s, t) − v(X(x; s, t), t)

    Boffi et al. 2025, arXiv:2505.18825.
    """

    def error(
        self, net: FlowMapNet, x: Events, start: PerSample, stop: PerSample, context: Context | None = None
    ) -> Events:
        with torch.no_grad():
            velocity = net(x, start, context)

        def at(t: Tensor) -> Tensor:
            return net.jumped(x, velocity, start, t, context)

        end, rate, *_ = jvp(at, (stop,), (torch.ones_like(stop),))
        with torch.no_grad():
            there = net(end, stop, context)
        return rate - there


@dataclass(frozen=True, kw_only=True)
class MeanFlow(Distillation):
    """MeanFlow, by the derivative of the average velocity u along the trajectory, X(x; s, t) = x + (t − s) u(x; s, t):

        error = u − (v + (t − s) du/ds),        du/ds = ∂u/∂x v + ∂u/∂s

    The second term is a target without a gradient. The paper has the velocity dx_s/ds of the pair in the place of v,
    whose mean is v. Geng et al. 2025, arXiv:2505.13447, eq. 6.
    """

    def error(
        self, net: FlowMapNet, x: Events, start: PerSample, stop: PerSample, context: Context | None = None
    ) -> Events:
        def average(x: Tensor, s: Tensor) -> Tensor:
            return net.average(x, net(x, s, context), s, stop, context)

        with torch.no_grad():
            velocity = net(x, start, context)
            _, rate, *_ = jvp(average, (x, start), (velocity, torch.ones_like(start)))
            target = velocity + spread(stop - start, x) * rate
        return net.average(x, velocity, start, stop, context) - target


class MapRegression(VelocityRegression):
    """The errors of the velocity and of the flow map of a continuous flow whose network is a `FlowMapNet`.

    A fifth of the jumps start from noise, and a fifth go on to data. Raises ValueError where the network is another.
    """

    config: Distillation

    def __init__(self, flow: Flow, codec: Codec = Identity(), config: Distillation = SelfDistillation()):
        super().__init__(flow, codec, config)
        if not isinstance(self.continuous.net, FlowMapNet):
            raise ValueError(f"a flow map is a FlowMapNet; this network is a {type(self.continuous.net).__name__}.")

    def error(self, pairs: Pairs, t: PerSample, generator: Source) -> PerSample:
        u = draw(torch.rand, t.shape, t, generator)
        start = (1.25 * t - 0.25).clamp(min=0)
        stop = start + (1 - start) * (1.25 * u).clamp(max=1)
        return super().error(pairs, t, generator) + self.map_error(pairs, start, stop)

    def map_error(self, pairs: Pairs, start: PerSample, stop: PerSample) -> PerSample:
        """The squared error of jumps from the path at times `start`, an element of the event."""
        net = self.continuous.net
        assert isinstance(net, FlowMapNet)
        x = self.config.path.point(start, pairs.noise, pairs.data)[0]
        return self.config.error(net, x, start, stop, pairs.context).square().flatten(1).mean(1)

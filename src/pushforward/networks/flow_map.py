"""A flow map: where an event at one time of a trajectory is at another, in one pass of a network.

    X(x; s, t) = x + (t − s) (v(x, s) + (t − s) w(x, s, t))

v is the velocity and w what its average over the trajectory from s to t adds, so that the derivative of X by t is v
where t = s. Boffi et al. 2025, "Flow map matching", arXiv:2406.07507 and arXiv:2505.18825.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.networks.velocity import WAVES, Velocity, waves
from pushforward.shapes import Events, PerSample


class FlowMapNet(Velocity):
    """The velocity of the network `velocity`, with jumps along its trajectories: (batch, features) -> the same.

    `correction` is w: a network of x and the `waves` of both times, (batch, features + 16) -> (batch, features).

    >>> from pushforward.networks import MLP, VelocityMLP
    >>> net = FlowMapNet(VelocityMLP(2), MLP(FlowMapNet.inputs(2), (2,)))
    >>> net.jump(torch.zeros(3, 2), torch.zeros(3), torch.ones(3)).shape
    torch.Size([3, 2])
    """

    def __init__(self, velocity: Velocity, correction: nn.Module):
        super().__init__()
        self.velocity, self.correction = velocity, correction

    @staticmethod
    def inputs(features: int) -> int:
        """The features that the correction reads."""
        return features + 2 * WAVES

    def forward(self, x: Events, t: PerSample, context: Context | None = None) -> Events:
        return self.velocity(x, t, context)

    def with_divergence(
        self, x: Events, t: PerSample, context: Context | None = None
    ) -> tuple[Events, PerSample] | None:
        return self.velocity.with_divergence(x, t, context)

    def jump(self, x: Events, start: PerSample, stop: PerSample, context: Context | None = None) -> Events:
        return self.jumped(x, self(x, start, context), start, stop, context)

    def jumped(
        self, x: Events, velocity: Tensor, start: PerSample, stop: PerSample, context: Context | None = None
    ) -> Events:
        """X(x; start, stop), where the velocity of x at `start` is known."""
        size = (stop - start)[:, None]
        added = self.correction(torch.cat([x, waves(start), waves(stop)], 1), context)
        return x + size * (velocity + size * added)

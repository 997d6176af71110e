"""A flow map: where an event at one time of a trajectory is at another, in one pass of a network.

    X(x; s, t) = x + (t − s) (v(x, s) + (t − s) w(x, s, t))

v is the velocity and w what its average over the trajectory from s to t adds, so that the derivative of X by t is v
where t = s. Boffi et al. 2025, "Flow map matching", arXiv:2406.07507 and arXiv:2505.18825.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.conditions import Context
from pushforward.networks.mlp import MLP
from pushforward.networks.velocity import WAVES, Velocity, VelocityMLP, waves
from pushforward.shapes import Events, PerSample


class FlowMapNet(Velocity):
    """The velocity of a `VelocityMLP`, with jumps along its trajectories: (batch, features) -> the same.

    w is an `MLP` of x, the `waves` of both times and the context as the velocity's encoder encodes it.

    >>> net = FlowMapNet(VelocityMLP(2), hidden=(64, 64))
    >>> net.jump(torch.zeros(3, 2), torch.zeros(3), torch.ones(3)).shape
    torch.Size([3, 2])
    """

    def __init__(self, velocity: VelocityMLP, *, hidden: tuple[int, ...] = (128, 128), residual: bool = False):
        super().__init__()
        features = velocity.answer.out_features
        encoded = 0 if velocity.context_encoder is None else velocity.sizes[0]
        self.velocity = velocity
        self.correction = MLP(features + 2 * WAVES + encoded, (features,), hidden=hidden, residual=residual)

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
        read, encoder = [x, waves(start), waves(stop)], self.velocity.context_encoder
        added = self.correction(torch.cat(read if encoder is None else [*read, encoder(context)], 1))
        return x + size * (velocity + size * added)

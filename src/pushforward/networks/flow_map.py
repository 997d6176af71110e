"""A flow map: where an event at one time of a trajectory is at another, in one pass of a network.

    X(x; s, t) = x + (t − s) (v(x, s) + (t − s) w(x, s, t))

v is the velocity at s, and (t − s) w is what the average velocity from s to t adds to it. So where t = s the derivative
of X by t is v. Boffi et al. 2025, "Flow map matching", arXiv:2406.07507 and arXiv:2505.18825.
"""

import torch
from torch import Tensor, nn

from pushforward.conditions import Condition, Context, find
from pushforward.networks.velocity import Velocity
from pushforward.shapes import Events, PerSample, spread


class Encoded(nn.Module):
    """The context encoder of the correction in a `FlowMapNet`: what the velocity's made. Context -> (batch, width)."""

    def forward(self, context: Context | None) -> Tensor:
        return find(context, "encoded").value


class FlowMapNet(Velocity):
    """A velocity, with jumps along its trajectories: (batch, *event) -> the same.

    The `correction` w is a velocity network that is told two times, (batch, 2), and whose context encoder is `Encoded`.

    >>> from pushforward.networks import VelocityMLP
    >>> net = FlowMapNet(VelocityMLP(2), VelocityMLP(2, times=2, context_encoder=Encoded()))
    >>> net.jump(torch.zeros(3, 2), torch.zeros(3), torch.ones(3)).shape
    torch.Size([3, 2])
    """

    def __init__(self, velocity: Velocity, correction: Velocity):
        super().__init__()
        self.velocity, self.correction = velocity, correction

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
        return x + spread(stop - start, x) * self.average(x, velocity, start, stop, context)

    def average(
        self, x: Events, velocity: Tensor, start: PerSample, stop: PerSample, context: Context | None = None
    ) -> Tensor:
        """The average velocity from `start` to `stop`, v + (t − s) w, where the velocity of x at `start` is known."""
        encoder = self.velocity.context_encoder
        value = x.new_zeros(()) if encoder is None else encoder(context)
        encoded = {"encoded": Condition(value, torch.zeros_like(start, dtype=torch.bool))}
        added = self.correction(x, torch.stack([start, stop], 1), encoded)
        return velocity + spread(stop - start, x) * added

"""Each element moves by raw parameters that depend on the context alone: a learned base, written as a transform.

    z = move(x; net(context))

With an affine move and z standard normal, x is Gaussian with a learned mean and scale, given the context: one pair for
each class where the context is a label. Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039.
"""

import torch
from torch import nn

from pushforward.conditions import Context
from pushforward.moves import Elementwise
from pushforward.shapes import Events, PerSample
from pushforward.transform import Triangular, summed


class ConditionalAffine(Triangular):
    """`net` reads zeros of x's shape and the context, and returns raw parameters for every element of x."""

    causal = True

    def __init__(self, net: nn.Module, move: Elementwise):
        super().__init__()
        self.net, self.move = net, move

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        return self.move.forward(x, self.net(torch.zeros_like(x), context))

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return summed(*self.move.inverse(z, self.net(torch.zeros_like(z), context)))

    def extra_repr(self) -> str:
        return f"move={type(self.move).__name__}"

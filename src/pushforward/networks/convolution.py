"""Convolutions that begin with answers of a known size: (B, C, H, W) -> (B, C', H, W), zeros around the image.

`Flow.initialise` lets each measure what reaches it; until then their weights are N(0, 0.05²).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.shapes import moments

FASTER = 3  # log-scales are learned as a third of themselves, so a step of the optimiser moves them three times as far


class SpreadConvolution(nn.Module):
    """A convolution whose answers begin with mean 0 and standard deviation `spread`, at every channel.

    Salimans & Kingma 2016, arXiv:1602.07868, section 3, without the factor that is learned there.
    """

    def __init__(self, channels: int, answers: int, *, kernel: int = 3, spread: float = 1.0):
        super().__init__()
        self.spread = spread
        self.weight = nn.Parameter(0.05 * torch.randn(answers, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(answers))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.to(self.weight.dtype), self.weight, self.bias, padding="same")

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Scale the weights by what they answer. Called by `Flow.initialise`, and by nobody else."""
        mean, deviation = moments(F.conv2d(x.to(self.weight.dtype), self.weight, padding="same"))
        scale = (self.spread / deviation).to(self.weight)
        self.weight.mul_(scale[:, None, None, None])
        self.bias.copy_(-mean * scale)


class ScaledConvolution(nn.Module):
    """(convolution(x) + shift) · exp(3 log_scale), where `ZeroConvolution` begins at zero and this one at mean 0 and
    standard deviation 1: an actnorm that is part of the convolution. Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039.

    With a kernel of 3, `border` is what one more channel would add that is 1 on the image's border and 0 inside: it
    tells the network where the image ends.
    """

    def __init__(self, channels: int, answers: int, *, kernel: int = 3):
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(answers, channels, kernel, kernel))
        self.border = nn.Parameter(0.05 * torch.randn(answers, 1, kernel, kernel)) if kernel > 1 else None
        self.shift = nn.Parameter(torch.zeros(answers))
        self.log_scale = nn.Parameter(torch.zeros(answers))

    def forward(self, x: Tensor) -> Tensor:
        return _scaled(x, self.weight, self.border, self.shift, self.log_scale)

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Set shift and scale from a batch. Called by `Flow.initialise`, and by nobody else."""
        zeros = torch.zeros_like(self.shift)
        mean, deviation = moments(_scaled(x, self.weight, self.border, zeros, zeros))
        self.shift.copy_(-mean)
        self.log_scale.copy_(-deviation.log() / FASTER)


class ZeroConvolution(nn.Module):
    """A `ScaledConvolution` of 3 × 3 pixels that begins with answers of zero, and is not measured."""

    def __init__(self, channels: int, answers: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(answers, channels, 3, 3))
        self.border = nn.Parameter(torch.zeros(answers, 1, 3, 3))
        self.shift = nn.Parameter(torch.zeros(answers))
        self.log_scale = nn.Parameter(torch.zeros(answers))

    def forward(self, x: Tensor) -> Tensor:
        return _scaled(x, self.weight, self.border, self.shift, self.log_scale)


def _scaled(x: Tensor, weight: Tensor, border: Tensor | None, shift: Tensor, log_scale: Tensor) -> Tensor:
    """The scale multiplies the weights, which are fewer than the answers; the border is read where channels are few."""
    x, scale = x.to(weight.dtype), torch.exp(FASTER * log_scale)
    each, added = scale[:, None, None, None], None
    if border is not None:
        ones = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
        ones[..., 1:-1, 1:-1] = 0
        if x.shape[1] < len(weight):
            x, weight = torch.cat([x, ones.expand(len(x), -1, -1, -1)], 1), torch.cat([weight, border], 1)
        else:
            added = F.conv2d(ones, border * each, padding="same")
    answers = F.conv2d(x, weight * each, shift * scale, padding="same")
    return answers if added is None else answers + added

"""Convolutions whose outputs begin with a known mean and scale: (B, C, H, W) -> (B, C', H, W), with zero padding.

`Flow.initialize` initialises them from data; until then their weights are N(0, 0.05²). Below float32 a CPU computes
them as matrix products and moves of pixels (`by_products`); cuDNN has them with the channels of a pixel side by side.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.randomness import normal
from pushforward.recording import recorded
from pushforward.shapes import at_least_float32, multiplied_in
from pushforward.statistics import moments

FASTER = 3  # the parameter is a third of the log-scale: a step of the optimiser moves the log-scale three times as far


class SpreadConvolution(nn.Module):
    """A convolution whose outputs begin with mean 0 and standard deviation `spread` in every channel.

    Salimans & Kingma 2016, arXiv:1602.07868, section 3, without its learned factor.
    """

    def __init__(self, channels: int, answers: int, *, kernel: int = 3, spread: float = 1.0):
        super().__init__()
        self.spread = spread
        self.weight = nn.Parameter(normal(0.05, answers, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(answers))

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(x.to(multiplied_in(self.weight)), self.weight, self.bias)

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        """Scale the weights, and set the bias, by the outputs for x. Called by `Flow.initialize` alone."""
        mean, deviation = moments(_convolved(x.to(self.weight.dtype), self.weight))
        scale = (self.spread / deviation).to(self.weight)
        self.weight.mul_(scale[:, None, None, None])
        self.bias.copy_(-mean * scale)


class ZeroConvolution(nn.Module):
    """(convolution(x) + shift) · exp(3 log_scale), with weights that begin at zero and are not initialised from data.

    With a kernel of 3, `border` has the weights of one more input channel, which is 1 on the image's border and 0
    inside: it marks where the image ends.
    """

    def __init__(self, channels: int, answers: int, *, kernel: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(answers, channels, kernel, kernel))
        self.border = nn.Parameter(torch.zeros(answers, 1, kernel, kernel)) if kernel > 1 else None
        self.shift = nn.Parameter(torch.zeros(answers))
        self.log_scale = nn.Parameter(torch.zeros(answers))

    def forward(self, x: Tensor) -> Tensor:
        return _scaled(x, self.weight, self.border, self.shift, self.log_scale)


class ScaledConvolution(ZeroConvolution):
    """The same with random weights, whose outputs begin with mean 0 and standard deviation 1 in every channel: a
    convolution and an actnorm in one. Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039.
    """

    def __init__(self, channels: int, answers: int, *, kernel: int = 3):
        super().__init__(channels, answers, kernel=kernel)
        for weight in (self.weight, self.border):
            if weight is not None:
                weight.data = normal(0.05, *weight.shape)

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        """Set shift and scale from a batch. Called by `Flow.initialize` alone."""
        zeros = torch.zeros_like(self.shift)
        mean, deviation = moments(_scaled(x, self.weight, self.border, zeros, zeros))
        self.shift.copy_(-mean)
        self.log_scale.copy_(-deviation.log() / FASTER)


def _scaled(x: Tensor, weight: Tensor, border: Tensor | None, shift: Tensor, log_scale: Tensor) -> Tensor:
    """The scale multiplies the weights, or the outputs where these have no more channels than x."""
    x, scale = x.to(multiplied_in(weight)), torch.exp(FASTER * log_scale)
    if border is None:
        return _product(x, weight.flatten(1) * scale[:, None], shift * scale)
    edge = x.new_ones(1, 1, *x.shape[2:])
    edge[..., 1:-1, 1:-1].zero_()
    if x.shape[1] < len(weight):
        x = torch.cat([x, edge.expand(x.shape[0], -1, -1, -1)], 1)
        return _from_few(x, torch.cat([weight, border], 1) * scale[:, None, None, None], shift * scale)
    answers = _towards_few(x, weight) + F.linear(_neighbours(edge.movedim(1, -1)), border.flatten(1), shift)
    return (answers * scale).movedim(-1, 1)


def rectified(x: Tensor) -> Tensor:
    """relu(x) in place, for the output x of a `ScaledConvolution`: to allocate a second tensor took up to a sixth of a
    pass. Not in place where x is a view, of a product or behind a hook: autograd would copy it, or refuse."""
    return F.relu(x, inplace=not (by_products(x) or recorded() or x._is_view()))


def by_products(x: Tensor) -> bool:
    """Whether convolutions of x are computed as matrix products: below float32 on a CPU, where that is faster."""
    return x.is_cpu and x.dtype.itemsize < 4


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution. On a GPU below float32 the channels of a pixel are put side by side in memory, as its matrix
    units read them; the outputs stay so."""
    if not x.is_cpu and x.dtype.itemsize < 4:
        x = x.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, bias, padding="same")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution of 1 × 1 pixels: the channels (B, C, H, W) times `weight` (C', C).

    On an AMD EPYC float32 matrix products, by MKL, take twice as long as convolutions, by oneDNN. In bfloat16 oneDNN
    computes both, and the weight gradient of a matrix product takes 0.6 to 0.9 times as long.
    """
    if by_products(x):
        return F.linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)
    return _convolved(x, weight[..., None, None], bias)


def _from_few(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of 3 × 3 pixels to more channels. By products it is one after `_neighbours`; in float32 that would
    be at most a twentieth faster, and would take more memory."""
    if not by_products(x):
        return _convolved(x, weight, bias)
    return _product(_neighbours(x.movedim(1, -1)).movedim(-1, 1), weight.movedim(1, -1).flatten(1), bias)


def _towards_few(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution of 3 × 3 pixels to fewer channels: (B, C, H, W) -> (B, H, W, C').

    By products it is one and then `_gathered` in float32, in two thirds of the time; in float32 that would take as long
    as the convolution.
    """
    if not by_products(x):
        return _convolved(x, weight).movedim(1, -1)
    return _gathered(at_least_float32(_product(x, weight.permute(2, 3, 0, 1).flatten(0, 2)).movedim(1, -1)))


def _neighbours(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H, W, 9 · C): the channels of a pixel and of the eight around it, row by row.

    A convolution of 3 × 3 pixels is this and then a matrix product.
    """
    for dim in (2, 1):
        x = torch.cat([_moved(x, dim, 1), x, _moved(x, dim, -1)], -1)
    return x


def _gathered(x: Tensor) -> Tensor:
    """(B, H, W, 9 · C) -> (B, H, W, C): the sum, at each pixel, of what it and the eight around it contribute to it.

    A convolution of 3 × 3 pixels is a matrix product and then this.
    """
    for dim in (1, 2):
        before, here, after = x.chunk(3, -1)
        x = _moved(before, dim, 1) + here + _moved(after, dim, -1)
    return x


def _moved(x: Tensor, dim: int, by: int) -> Tensor:
    """x (B, H, W, C) shifted by one place along an axis, with zeros at the edge."""
    return F.pad(x, (*(0, 0) * (3 - dim), by, -by))

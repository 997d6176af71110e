"""Convolutional networks: raw parameters for an image from another of the same height and width.

(B, C, H, W) -> (B, C', H, W, P), where `raw` is (C', P): P raw parameters for each of C' channels at every place.
`context_encoder` turns the context into a vector that is added at every place after the first convolution.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.conditions import Context, find
from pushforward.initialization import zeroed
from pushforward.networks.attention import attended, check_heads
from pushforward.networks.convolution import ScaledConvolution, SpreadConvolution, ZeroConvolution, rectified
from pushforward.randomness import normal


class ConvNet(nn.Module):
    """Three convolutions of 3, 1 and 3 pixels with ReLUs between; the last begins at zero.

    Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039, section 3.3.

    >>> ConvNet(3, (3, 2), width=16)(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5, 3, 4, 4, 2])
    """

    def __init__(self, channels: int, raw: tuple[int, int], *, width: int):
        super().__init__()
        self.raw = raw
        self.first = ScaledConvolution(channels, width)
        self.second = ScaledConvolution(width, width, kernel=1)
        self.answer = ZeroConvolution(width, math.prod(raw))

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        return _by_channel(self.answer(rectified(self.second(rectified(self.first(x))))), self.raw)


class Shallow(nn.Module):
    """One convolution, which begins at zero.

    >>> Shallow(3, (3, 2))(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5, 3, 4, 4, 2])
    """

    def __init__(self, channels: int, raw: tuple[int, int]):
        super().__init__()
        self.raw = raw
        self.answer = ZeroConvolution(channels, math.prod(raw))

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        return _by_channel(self.answer(x), self.raw)


class Constant(nn.Module):
    """Raw parameters that do not depend on x: a set for each channel, others on the border, plus those of the context.

    As in Glow's code it is a convolution of zeros. So most of its weights have no effect; the published parameter
    counts include them. Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039.

    >>> Constant((3, 2))(torch.ones(5, 3, 4, 4)).shape
    torch.Size([5, 3, 4, 4, 2])
    """

    def __init__(self, raw: tuple[int, int], *, context_encoder: nn.Module | None = None):
        super().__init__()
        self.raw, self.context_encoder = raw, context_encoder
        self.answer = ZeroConvolution(math.prod(raw), math.prod(raw))

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        answer = self.answer(x.new_zeros(x.shape[0], math.prod(self.raw), *x.shape[2:]))
        return _by_channel(_conditioned(answer, self.context_encoder, context), self.raw)


class ResNet(nn.Module):
    """Residual blocks h <- h + convolution(relu(convolution(relu(h)))); the output is a convolution of the sum of the
    skips, one from each h.

    Convolutions begin with outputs of deviation 1, where the authors use batch normalisation; the last begins at zero.
    Dinh et al. 2017 (Real NVP), arXiv:1605.08803.

    >>> ResNet(3, (3, 2), width=16, blocks=2)(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5, 3, 4, 4, 2])
    """

    def __init__(
        self, channels: int, raw: tuple[int, int], *, width: int, blocks: int, context_encoder: nn.Module | None = None
    ):
        super().__init__()
        self.raw, self.context_encoder = raw, context_encoder
        self.read = SpreadConvolution(channels, width)
        self.blocks = nn.ModuleList(
            nn.ModuleList(SpreadConvolution(width, width) for _ in range(2)) for _ in range(blocks)
        )
        self.skips = nn.ModuleList(SpreadConvolution(width, width, kernel=1) for _ in range(blocks + 1))
        self.answer = zeroed(nn.Conv2d(width, math.prod(raw), 1))

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        first, *skips = self.skips
        h = _conditioned(self.read(x), self.context_encoder, context)
        total = first(h)
        for (one, other), skip in zip(self.blocks, skips, strict=True):  # pyright: ignore[reportGeneralTypeIssues]
            h = h + other(F.relu(one(F.relu(h))))
            total = total + skip(h)
        return _by_channel(self.answer(F.relu(total)), self.raw)


class GatedAttentionNet(nn.Module):
    """Gated convolutions and gated self-attention over all places, in turn, each a residual branch, then normalised.

        h <- norm(h + a · sigmoid(b)),      a, b = convolution(e(convolution(e(h)) + …)),      e(h) = elu([h, −h])
        h <- norm(h + a · sigmoid(b)),      a, b = linear(attention(h + positions))

    Where `given` is not 0, the condition "image" has that many channels, and its convolution takes the place of the
    dots. The last convolution begins with outputs of deviation 0.1. Ho et al. 2019 (Flow++), arXiv:1902.00275; without
    its dropout.

    >>> GatedAttentionNet(3, (3, 2), size=(4, 4), width=16, blocks=2)(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5, 3, 4, 4, 2])
    """

    def __init__(
        self,
        channels: int,
        raw: tuple[int, int],
        *,
        size: tuple[int, int],
        width: int,
        blocks: int,
        given: int = 0,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.raw, self.given, self.context_encoder = raw, given, context_encoder
        self.positions = nn.Parameter(normal(0.01, width, *size))
        self.read = SpreadConvolution(channels, width)
        self.blocks = nn.ModuleList(
            nn.ModuleList([GatedConvolution(width, given=given), GatedAttention(width)]) for _ in range(blocks)
        )
        self.answer = SpreadConvolution(width, math.prod(raw), spread=0.1)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        image = None
        if self.given:
            condition = find(context, "image")
            image = torch.where(condition.null[:, None, None, None], 0, condition.value)  # the null is zeros
        h = _conditioned(self.read(x), self.context_encoder, context)
        for convolution, attention in self.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            h = attention(convolution(h, image), self.positions)
        return _by_channel(self.answer(h), self.raw)


class GatedConvolution(nn.Module):
    """(B, W, H, W') -> the same: the first formula of `GatedAttentionNet`."""

    def __init__(self, width: int, *, given: int = 0, kernel: int = 1, normed: bool = True):
        super().__init__()
        self.first = SpreadConvolution(2 * width, width)
        self.aside = SpreadConvolution(2 * given, width, kernel=1) if given else None
        self.second = SpreadConvolution(2 * width, 2 * width, kernel=kernel, spread=0.1)
        self.norm = nn.LayerNorm(width) if normed else None

    def forward(self, h: Tensor, image: Tensor | None = None) -> Tensor:
        c = self.first(_both_ways(h))
        if self.aside is not None:
            assert image is not None
            c = c + self.aside(_both_ways(image))
        h = h + F.glu(self.second(_both_ways(c)), 1)
        return h if self.norm is None else _over_channels(self.norm, h)


class GatedAttention(nn.Module):
    """(B, W, H, W') -> the same: the second formula of `GatedAttentionNet`, with four heads."""

    def __init__(self, width: int):
        super().__init__()
        check_heads(width, 4)
        self.qkv = SpreadConvolution(width, 3 * width, kernel=1)
        self.out = SpreadConvolution(width, 2 * width, kernel=1, spread=0.1)
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Tensor, positions: Tensor) -> Tensor:
        q, k, v = self.qkv(h + positions).flatten(2).unflatten(1, (3, 4, -1)).transpose(-1, -2).unbind(1)
        seen = attended(q, k, v).transpose(-1, -2).reshape(h.shape)
        return _over_channels(self.norm, h + F.glu(self.out(seen), 1))


def _both_ways(h: Tensor) -> Tensor:
    return F.elu(torch.cat([h, -h], 1))


def _over_channels(norm: nn.Module, h: Tensor) -> Tensor:
    return norm(h.movedim(1, -1)).movedim(-1, 1)


def _conditioned(h: Tensor, context_encoder: nn.Module | None, context: Context | None) -> Tensor:
    """h, plus the encoded context at every place."""
    return h if context_encoder is None else h + context_encoder(context)[:, :, None, None]


def _by_channel(answer: Tensor, raw: tuple[int, int]) -> Tensor:
    """(B, C · P, H, W) -> (B, C, H, W, P)."""
    return answer.unflatten(1, raw).movedim(2, -1)

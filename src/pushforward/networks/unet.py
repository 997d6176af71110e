"""Velocity networks of images: a U-Net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.networks.velocity import Velocity
from pushforward.networks.velocity_images import TimeEmbedding, normalised
from pushforward.plain import computes_in
from pushforward.shapes import Events, PerSample


class VelocityUNet(Velocity):
    """Residual blocks of convolutions on a pyramid of grids: (batch, channels, height, width) -> the same.

        d_1 = blocks(read(x))      d_k = blocks(down(d_{k−1}))      u_k = blocks(d_k + up(u_{k+1}))      v = answer(u_1)

    Each of the `levels` grids has half of the height and width of the one before it, and twice the channels: `width` on
    the first. `down` and `up` are convolutions of 2 × 2 pixels without overlap. The output begins at zero.
    Ronneberger et al. 2015, arXiv:1505.04597, where u_k reads d_k beside up(u_{k+1}) and not their sum; told the time
    as in Dhariwal & Nichol 2021, arXiv:2105.05233.

    >>> net = VelocityUNet((1, 8, 8), width=8, levels=2)
    >>> net(torch.zeros(5, 1, 8, 8), torch.zeros(5)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        *,
        width: int,
        levels: int,
        blocks: int = 1,
        times: int = 1,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        check_number(levels, "levels", least=1)
        channels, *size = image
        if any(side % 2 ** (levels - 1) for side in size):
            raise ValueError(
                f"a U-Net of {levels} levels halves height and width {levels - 1} times, which an image of {size[0]} × "
                f"{size[1]} does not allow. Crop or pad the images, or use fewer levels."
            )
        widths, deepest = [width * 2**k for k in range(levels)], width * 2 ** (levels - 1)

        def stack(width: int) -> nn.ModuleList:
            return nn.ModuleList(ModulatedConvolutions(width, deepest) for _ in range(blocks))

        self.embedding = TimeEmbedding(deepest, times=times, context_encoder=context_encoder)
        self.read = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths[:-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.before, self.after = nn.ModuleList(map(stack, widths)), nn.ModuleList(map(stack, widths[:-1]))
        self.answer = zeroed(nn.Conv2d(width, channels, 3, padding=1))

    @property
    def context_encoder(self) -> nn.Module | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.embedding.context_encoder

    def forward(self, x: Events, t: PerSample, context: Context | None = None) -> Events:
        e = self.embedding(t, context)
        h = through(self.before[0], self.read(x.to(computes_in(self.read))), e)
        kept = [h]
        for down, blocks in zip(self.down, self.before[1:], strict=True):
            kept.append(through(blocks, down(kept[-1]), e))
        h = kept.pop()
        for up, blocks in zip(reversed(self.up), reversed(self.after), strict=True):
            h = through(blocks, kept.pop() + up(h), e)
        return self.answer(normalised(h, (1, 2, 3)))


class ModulatedConvolutions(nn.Module):
    """h + gate · convolution(s(convolution(s((1 + scale) · norm(h) + shift)))): (B, W, H, W'), (B, E) -> (B, W, H, W').

    s is swish, the norm is over all channels and pixels, and shift, scale and gate are linear maps of e that begin at
    zero.
    """

    def __init__(self, width: int, embedded: int):
        super().__init__()
        self.modulation = zeroed(nn.Linear(embedded, 3 * width))
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(e)[..., None, None].chunk(3, 1)
        modulated = F.silu((1 + scale) * normalised(h, (1, 2, 3)) + shift)
        return h + gate * self.second(F.silu(self.first(modulated)))


def through(blocks: nn.Module, h: Tensor, e: Tensor) -> Tensor:
    """h after each of the blocks."""
    for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
        h = block(h, e)
    return h


@dataclass(frozen=True, kw_only=True)
class UNetOptions:
    """The configuration of a `VelocityUNet`."""

    width: int = 64  # channels of the first level
    levels: int = 3
    blocks: int = 2  # of each level, on either side

    def build(
        self, image: tuple[int, int, int], context_encoder: Callable[[int], nn.Module | None], *, times: int = 1
    ) -> VelocityUNet:
        encoder = context_encoder(self.width * 2 ** (self.levels - 1))
        return VelocityUNet(image, **vars(self), times=times, context_encoder=encoder)

    def small(self) -> UNetOptions:
        return UNetOptions(width=8, levels=min(self.levels, 2), blocks=1)

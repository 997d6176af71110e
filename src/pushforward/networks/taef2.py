"""TAEF2: the tiny autoencoder of FLUX.2's latent space, whose pretrained weights are 1.3 million each way.

An image (B, 3, H, W) in [0, 1] becomes a latent (B, 32, H/8, W/8) whose elements have a deviation near one.
Ollin Boer Bohan, github.com/madebyollin/taesd, MIT licence. Modules are nested as there, so its state dicts load.
"""

import torch
from torch import Tensor, nn

WIDTH, LATENT = 64, 32


def convolution(features: int = WIDTH, outputs: int = WIDTH, **options) -> nn.Conv2d:
    return nn.Conv2d(features, outputs, 3, padding=1, **options)


class Block(nn.Module):
    """relu(three convolutions of h + h). With `pool`, a residual branch of 1 × 1 convolutions comes first."""

    def __init__(self, *, pool: bool = False):
        super().__init__()
        self.conv = nn.Sequential(convolution(), nn.ReLU(), convolution(), nn.ReLU(), convolution())
        self.pool = None
        if pool:
            wide = 4 * WIDTH
            self.pool = nn.Sequential(
                nn.Conv2d(WIDTH, wide, 1, bias=False),
                nn.GroupNorm(4, wide),
                nn.ReLU(),
                nn.Conv2d(wide, WIDTH, 1, bias=False),
            )

    def forward(self, h: Tensor) -> Tensor:
        if self.pool is not None:
            h = h + self.pool(h)
        return torch.relu(self.conv(h) + h)


class Limit(nn.Module):
    """3 · tanh(x / 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def encoder() -> nn.Sequential:
    """Images in [0, 1] -> latents."""
    down = {"stride": 2, "bias": False}
    return nn.Sequential(
        convolution(3),
        Block(),
        convolution(**down),
        *(Block() for _ in range(3)),
        convolution(**down),
        *(Block() for _ in range(3)),
        convolution(**down),
        *(Block(pool=True) for _ in range(3)),
        convolution(outputs=LATENT),
    )


def decoder() -> nn.Sequential:
    """Latents -> images, to be clamped to [0, 1]."""

    def larger(blocks: int) -> list[nn.Module]:
        return [nn.Upsample(scale_factor=2), convolution(bias=False), *(Block() for _ in range(blocks))]

    return nn.Sequential(
        Limit(),
        convolution(LATENT),
        nn.ReLU(),
        *(Block(pool=True) for _ in range(3)),
        *larger(3),
        *larger(3),
        *larger(1),
        convolution(outputs=3),
    )

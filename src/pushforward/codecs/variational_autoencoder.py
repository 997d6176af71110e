"""An autoencoder that is trained with the flow of its latents."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.arrays import check_number
from pushforward.codecs.base import CodecConfig
from pushforward.codecs.integers import IntegerCodec, as_integers, as_real, check_levels, placed
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample, at_least_float32, sum_event


@dataclass(frozen=True, kw_only=True)
class TrainedAutoencoder(CodecConfig):
    """The configuration of an autoencoder of two convolutional networks: builds a `VariationalAutoencoder`.

    Latents of images (C, H, W) have the shape (`latent`, H / 2^halvings, W / 2^halvings).

    >>> codec = TrainedAutoencoder(image=(1, 8, 8), latent=4, width=8).build()
    >>> codec.encode(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))[0].shape
    torch.Size([5, 4, 4, 4])
    """

    image: tuple[int, int, int]  # channels, height, width
    latent: int  # channels
    levels: int = 256
    halvings: int = 1  # of the image's sides
    width: int = 64
    sigma: float = 0.5  # deviation of latents around the encoder's

    def __post_init__(self):
        step = 2**self.halvings
        if self.halvings < 0 or self.image[1] % step or self.image[2] % step:
            raise ValueError(
                f"sides are halved {self.halvings} times, so they are multiples of {step}; the image is {self.image}."
            )

    def build(self) -> IntegerCodec:
        width, read, written = self.width, [], []
        for _ in range(self.halvings):
            read += [nn.GELU(), nn.Conv2d(width, width, 4, stride=2, padding=1)]
            written += [nn.GELU(), nn.Upsample(scale_factor=2), _convolution(width, width)]
        encoder = [_convolution(self.image[0], width), *read, nn.GELU(), _convolution(width, self.latent)]
        decoder = [_convolution(self.latent, width), *written, nn.GELU(), _convolution(width, self.image[0])]
        return VariationalAutoencoder(
            nn.Sequential(*encoder), nn.Sequential(*decoder), levels=self.levels, sigma=self.sigma
        )

    def small(self, image: tuple[int, ...] | None = None) -> CodecConfig:
        latent, *size = image or (self.latent, *(side >> self.halvings for side in self.image[1:]))
        height, width = (side << self.halvings for side in size)
        return replace(self, image=(self.image[0], height, width), latent=latent, width=8)

    def data_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return self.image


class VariationalAutoencoder(nn.Module, IntegerCodec):
    """Latents x = encoder(v) + sigma · noise of images v, whose decoder gives back P(v | x); both learn with the flow.

    `encoder` and `decoder` take and give images on [−1, 1]. Each integer has a logistic distribution around the
    decoder's answer, of one learned scale for all, integrated over its bin; the outermost bins have no end. So the
    flow's bound holds for the images themselves, in bits/dim. As sigma is fixed, the flow learns latents that are noisy
    already: they need no other noise, and its draws no denoiser. The idea is that of SimFlow 2025, arXiv:2512.04084,
    which trains its decoder by perceptual losses; the distribution is that of Kingma et al. 2016, arXiv:1606.04934.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, levels: int = 256, sigma: float = 0.5):
        super().__init__()
        check_levels(levels)
        check_number(sigma, "sigma", above=0)
        self.encoder, self.decoder, self.levels, self.sigma = encoder, decoder, levels, sigma
        self.log_scale = nn.Parameter(torch.full((1,), -2.0))  # of the logistic distribution, on [−1, 1]

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        mean = self.clean(data)
        noise = draw(torch.randn, tuple(mean.shape), mean, generator)
        x = mean + self.sigma * noise
        log_q = sum_event(-0.5 * noise.square()) - mean[0].numel() * math.log(self.sigma * math.sqrt(2 * math.pi))
        return x, log_q - self.log_likelihood(data, x)

    def log_likelihood(self, data: Tensor, x: Events) -> PerSample:
        """log P(data | x) in nats, (batch,)."""
        v, centre = as_real(data, self.levels).to(x), at_least_float32(self.decoder(x))
        inverse_scale = torch.exp(-self.log_scale)
        half = 1 / (self.levels - 1)  # a bin's, on [−1, 1]
        above, below = (inverse_scale * (placed(v, self.levels) + edge - centre) for edge in (half, -half))
        to_upper = F.logsigmoid(above).where(v < self.levels - 1, 0)
        to_lower = F.logsigmoid(-below).where(v > 0, 0)
        inner = torch.log(-torch.expm1(-2 * half * inverse_scale)).expand(v.shape)
        return sum_event(to_upper + to_lower + inner.where((v > 0) & (v < self.levels - 1), 0))

    def decode(self, x: Events) -> Tensor:
        with torch.no_grad():
            return as_integers(((self.decoder(x) + 1) * (self.levels - 1) / 2).round(), self.levels)

    def clean(self, data: Tensor) -> Events:
        images = placed(as_real(data, self.levels), self.levels)
        return at_least_float32(self.encoder(images.to(self.log_scale)))

    def __repr__(self) -> str:
        return f"VariationalAutoencoder(levels={self.levels}, sigma={self.sigma:g})"


def _convolution(features: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(features, outputs, 3, padding=1)

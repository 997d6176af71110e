"""Latents of the frames of clips, by a frozen autoencoder of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.codecs.autoencoder import Autoencoder, FrozenAutoencoder, ImageAutoencoder
from pushforward.codecs.base import Codec, CodecConfig
from pushforward.codecs.noise import GaussianNoise
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample


@dataclass(frozen=True, kw_only=True)
class ClipAutoencoder(CodecConfig):
    """The configuration of a frozen autoencoder of frames: `build()` makes a `FrozenClipAutoencoder`.

    It is for training in Python: the data of runs on clips are pixels, and no run takes it.
    """

    image: ImageAutoencoder = Autoencoder()  # of one frame
    first: float = 1.0  # what the latents of the first frame are multiplied by, before noise is added
    later: float = 1.0  # and those of all others; 0.6 in STARFlow-V, whose autoencoder is one of video

    def __post_init__(self):
        if not (self.first > 0 and self.later > 0):
            raise ValueError(f"latents are multiplied by numbers above 0; got first={self.first}, later={self.later}.")
        if self.image.tuned:
            raise ValueError("a decoder of clips is not tuned: give image=Autoencoder(tuned=False).")

    @property
    def levels(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.image.levels

    def build(self) -> FrozenClipAutoencoder:
        return FrozenClipAutoencoder(self.image.build(), first=self.first, later=self.later)

    def small(self, image: tuple[int, ...] | None = None) -> GaussianNoise:
        return self.image.small(image)


class FrozenClipAutoencoder(nn.Module, Codec):
    """Latents of the frames of a clip with Gaussian noise: x_k = scale_k · encoder(frame k) + sigma · noise.

    Clips (batch, frame, C, H, W) are of integers 0 … levels − 1; sigma is that of `image`. The scale is `first` for the
    first frame and `later` for the others. The density is that of noisy latents, as of a `FrozenAutoencoder`. Gu et al.
    2025 (STARFlow-V), arXiv:2511.20462.
    """

    unit = "nats/dim"
    quantity = "log p of noisy latents"

    def __init__(self, image: FrozenAutoencoder, *, first: float = 1.0, later: float = 1.0):
        super().__init__()
        self.image, self.first, self.later, self.levels = image, first, later, image.levels

    @property
    def noise_sigma(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.image.sigma

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        latents = self.clean(data)
        noise = draw(torch.randn, latents.shape, latents, generator)
        return latents + self.noise_sigma * noise, latents.new_zeros(len(data))

    def decode(self, x: Events) -> Tensor:
        return self.image.decode((x / self._scales(x)).flatten(0, 1)).unflatten(0, x.shape[:2])

    def clean(self, data: Tensor) -> Events:
        if data.is_floating_point():
            return data
        latents = self.image.clean(data.flatten(0, 1)).unflatten(0, data.shape[:2])
        return latents * self._scales(latents)

    def prepare(self, data: Tensor) -> Tensor:
        return self.clean(data)

    def count(self, data: Tensor) -> Tensor:
        return self.image.count(data[:1, 0]).expand(len(data)) * data.shape[1]

    def _scales(self, x: Events) -> Tensor:
        """Those of the frames, (frame, 1, 1, 1)."""
        frames = torch.arange(x.shape[1], device=x.device)[:, None, None, None]
        return torch.where(frames == 0, self.first, self.later).to(x)

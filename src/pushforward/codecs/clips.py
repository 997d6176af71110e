"""Latents of clips, by a frozen autoencoder of their frames or of whole clips."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.codecs.autoencoder import Autoencoder, FrozenAutoencoder, ImageAutoencoder
from pushforward.codecs.base import CodecConfig
from pushforward.codecs.noise import GaussianNoise
from pushforward.shapes import Events


@dataclass(frozen=True, kw_only=True)
class ClipCodec(CodecConfig):
    """The configuration of a frozen autoencoder of clips: `build()` makes a `FrozenClipAutoencoder`."""

    first: float = 1.0  # what the latents of the first frame are multiplied by, before noise is added
    later: float = 1.0  # and those of all others

    def __post_init__(self):
        check_number(self.first, "first", above=0)
        check_number(self.later, "later", above=0)

    @abstractmethod
    def build(self) -> FrozenClipAutoencoder: ...

    @property
    @abstractmethod
    def noise_sigma(self) -> float: ...

    def small(self, image: tuple[int, ...] | None = None) -> GaussianNoise:
        return GaussianNoise(self.levels, sigma=self.noise_sigma)

    @property
    def frames_alike(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.first == self.later


@dataclass(frozen=True, kw_only=True)
class ClipAutoencoder(ClipCodec):
    """The configuration of a frozen autoencoder of images, which encodes each frame of a clip by itself."""

    image: ImageAutoencoder = Autoencoder()

    def __post_init__(self):
        super().__post_init__()
        if self.image.tuned:
            raise ValueError("a decoder of clips is not tuned: give image=Autoencoder(tuned=False).")

    @property
    def levels(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.image.levels

    @property
    def noise_sigma(self) -> float:
        return self.image.sigma

    def build(self) -> FrozenClipAutoencoder:
        image = self.image.build()
        encoder, decoder = _EachFrame(image.encoder), _EachFrame(image.decoder)
        return FrozenClipAutoencoder(
            encoder, decoder, levels=self.levels, sigma=image.sigma, first=self.first, later=self.later
        )

    def data_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return event[0], *self.image.data_shape(event[1:])


class FrozenClipAutoencoder(FrozenAutoencoder):
    """Latents of a clip with Gaussian noise: x_k = scale_k · encoder(clip)_k + sigma · noise, for latent frames k.

    Clips (batch, frames, C, H, W) are of integers 0 … levels − 1. The scale is `first` for the first latent frame and
    `later` for the others. The density is that of noisy latents, as of a `FrozenAutoencoder`. Gu et al. 2025
    (STARFlow-V), arXiv:2511.20462.
    """

    scales: Tensor  # of the first latent frame and of later ones

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        levels: int = 256,
        sigma: float = 0.3,
        first: float = 1.0,
        later: float = 1.0,
    ):
        super().__init__(encoder, decoder, levels=levels, sigma=sigma)
        self.register_buffer("scales", torch.tensor([first, later]), persistent=False)

    def decode(self, x: Events) -> Tensor:
        return super().decode(x / self._scales(x))

    def clean(self, data: Tensor) -> Events:
        latents = super().clean(data)
        return data if data.is_floating_point() else latents * self._scales(latents)

    def prepares_by(self) -> tuple[object, ...]:
        return *super().prepares_by(), self.scales

    def _scales(self, x: Events) -> Tensor:
        """Those of the frames, (frame, 1, 1, 1)."""
        later = torch.arange(x.shape[1], device=x.device).clamp(max=1)
        return self.scales.to(x)[later, None, None, None]


class _EachFrame(nn.Module):
    """A network of images, applied to each frame of clips."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        return self.net(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])

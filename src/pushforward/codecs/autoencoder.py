"""Latents of a frozen autoencoder."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.codecs.base import Codec, CodecConfig
from pushforward.codecs.integers import as_integers, as_real
from pushforward.codecs.noise import GaussianNoise
from pushforward.files import data_folder
from pushforward.networks import taef2
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample
from pushforward.transform import twin

WEIGHTS = ("taef2_encoder.pth", "taef2_decoder.pth")


@dataclass(frozen=True, kw_only=True)
class ImageAutoencoder(CodecConfig):
    """The configuration of a frozen autoencoder of images (3, 8 H, 8 W), whose latents have the shape (C, H, W)."""

    levels: int = 256
    sigma: float = 0.3  # deviation of the noise on latents, whose own is near one
    tuned: bool = False  # whether a decoder of noisy latents is trained beside the flow, by likelihood

    @property
    def noise_sigma(self) -> float:
        return self.sigma

    @abstractmethod
    def build(self) -> FrozenAutoencoder: ...

    def small(self, image: tuple[int, ...] | None = None) -> GaussianNoise:
        """Noise on images: a small flow learns them as they are."""
        return GaussianNoise(self.levels, sigma=self.sigma)

    def data_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return 3, *(side and 8 * side for side in event[1:])

    def frozen(self, encoder: nn.Module, decoder: nn.Module) -> FrozenAutoencoder:
        """The codec of these networks."""
        return FrozenAutoencoder(encoder, decoder, levels=self.levels, sigma=self.sigma, tuned=self.tuned)


@dataclass(frozen=True, kw_only=True)
class Autoencoder(ImageAutoencoder):
    """The configuration of a frozen autoencoder, TAEF2: `build()` reads its weights and makes a `FrozenAutoencoder`.

    `folder` holds taef2_encoder.pth and taef2_decoder.pth of github.com/madebyollin/taesd; None is the folder taef2 of
    the one that PUSHFORWARD_DATA names. Latents of images (3, H, W) have the shape (32, H/8, W/8).
    """

    folder: str | None = None

    def build(self) -> FrozenAutoencoder:
        encoder, decoder = taef2.encoder(), taef2.decoder()
        folder = Path(self.folder or data_folder() / "taef2")
        for module, name in zip((encoder, decoder), WEIGHTS, strict=True):
            if not (folder / name).exists():
                raise FileNotFoundError(
                    f"there is no {name} in {folder}. Take it from github.com/madebyollin/taesd (MIT licence) and give "
                    "its folder, or set PUSHFORWARD_DATA to the folder that holds taef2."
                )
            try:
                module.load_state_dict(torch.load(folder / name, weights_only=True, map_location="cpu"))
            except Exception as error:
                raise ValueError(f"{folder / name} does not hold the weights of TAEF2: {error}") from None
        return self.frozen(encoder, decoder)


class FrozenAutoencoder(nn.Module, Codec):
    """Latents of a frozen autoencoder with Gaussian noise: x = encoder(image) + sigma · noise.

    Images are integers 0 … levels − 1; `encoder` takes them in [0, 1], `decoder` gives them back. The density is that
    of noisy latents, in nats for each of their elements: no bound on images follows. Data of real numbers are latents
    already, as `prepare` makes them. Rombach et al. 2022, arXiv:2112.10752; Gu et al. 2025 (STARFlow),
    arXiv:2506.06276.

    If `tuned` it has a second decoder, of noisy latents, which begins as the first, learns beside the flow to take the
    noise out, and decodes in `of_noisy()`.
    """

    unit = "nats/dim"
    quantity = "log p of noisy latents"

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, *, levels: int = 256, sigma: float = 0.3, tuned: bool = False
    ):
        super().__init__()
        check_number(sigma, "sigma", above=0)
        self.encoder, self.decoder = (net.eval().requires_grad_(False) for net in (encoder, decoder))
        self.levels, self.sigma = levels, sigma
        self.tuned = copy.deepcopy(decoder).requires_grad_(True) if tuned else None

    def __repr__(self) -> str:
        return f"FrozenAutoencoder(sigma={self.sigma:g})"

    def train(self, mode: bool = True) -> FrozenAutoencoder:
        """The frozen networks stay in eval mode."""
        super().train(mode)
        for frozen in (self.encoder, self.decoder):
            frozen.eval()
        return self

    @property
    def noise_sigma(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sigma

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        latents = self.clean(data)
        return latents + self.sigma * draw(torch.randn, latents.shape, latents, generator), latents.new_zeros(len(data))

    @torch.no_grad()
    def decode(self, x: Events) -> Tensor:
        return as_integers((self.decoder(x).clamp(0, 1) * (self.levels - 1)).round(), self.levels)

    def of_noisy(self) -> FrozenAutoencoder:
        """The same with the tuned decoder, which takes noisy latents. Raises ValueError where there is none."""
        if self.tuned is None:
            raise ValueError(
                "the autoencoder has no decoder of noisy latents: train with Autoencoder(tuned=True), --codec.tuned."
            )
        return twin(self, _modules={**self._modules, "decoder": self.tuned})

    def decoding_error(self, x: Events, data: Tensor) -> PerSample | None:
        """The squared error of the tuned decoder on noisy latents x, an element of the image, (batch,).

        It is against the images; where data are latents, against what the frozen decoder makes of them.
        """
        if self.tuned is None:
            return None
        with torch.no_grad():
            images = self.decoder(data) if data.is_floating_point() else as_real(data, self.levels) / (self.levels - 1)
        return (self.tuned(x) - images).square().flatten(1).mean(1)

    @torch.no_grad()
    def clean(self, data: Tensor) -> Events:
        if data.is_floating_point():
            return data
        images = as_real(data, self.levels) / (self.levels - 1)
        return self.encoder(images.to(next(self.encoder.parameters(), images)))

    def prepare(self, data: Tensor) -> Tensor:
        return self.clean(data)

    def prepares_by(self) -> tuple[object, ...]:
        return self.encoder, self.levels

    def count(self, data: Tensor) -> Tensor:
        latent = data[0] if data.is_floating_point() else self.clean(data[:1])[0]
        return torch.full((len(data),), float(latent.numel()), device=data.device)

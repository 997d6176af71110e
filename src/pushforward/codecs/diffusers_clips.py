"""Latents of the causal autoencoders of clips of the library `diffusers`."""

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pushforward.codecs.clips import ClipCodec, FrozenClipAutoencoder
from pushforward.codecs.diffusers_autoencoder import Half, read_autoencoder


@dataclass(frozen=True, kw_only=True)
class DiffusersClipAutoencoder(ClipCodec):
    """The configuration of a frozen, causal autoencoder of clips of `diffusers`: an AutoencoderKLWan.

    `name` is a folder, or a name on the Hugging Face hub with the `subfolder` there, with a config.json and
    safetensors; for STARFlow-V name="Wan-AI/Wan2.2-TI2V-5B-Diffusers", subfolder="vae", later=0.6. A clip of
    1 + `temporal` · n frames (3, `spatial` · H, `spatial` · W) has 1 + n latent frames (C, H, W), each a function of
    the frames until then. They are means, shifted and scaled as the configuration of the autoencoder says. Raises
    FileNotFoundError where there is none, ValueError where it is of another kind, or of another scale.
    """

    name: str
    subfolder: str | None = None
    spatial: int = 16
    temporal: int = 4
    levels: int = 256
    sigma: float = 0.5

    @property
    def noise_sigma(self) -> float:
        return self.sigma

    @property
    def frames_alike(self) -> bool:
        return False

    def build(self) -> FrozenClipAutoencoder:
        net = read_autoencoder(self.name, ("AutoencoderKLWan",), self.subfolder)
        scales = net.config["scale_factor_spatial"], net.config["scale_factor_temporal"]
        if scales != (self.spatial, self.temporal):
            raise ValueError(
                f"{self.name} makes a latent of {scales[0]} pixels of a side and {scales[1]} frames; got "
                f"spatial={self.spatial}, temporal={self.temporal}. Give its own."
            )
        return FrozenClipAutoencoder(
            _Encoder(net),
            _Decoder(net),
            levels=self.levels,
            sigma=self.sigma,
            first=self.first,
            later=self.later,
        )

    def data_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        frames, _, *sides = event
        return frames and 1 + self.temporal * (frames - 1), 3, *(side and self.spatial * side for side in sides)

    def event_frames(self, frames: int) -> int:
        later, rest = divmod(frames - 1, self.temporal)
        if rest:
            raise ValueError(
                f"clips of {self.name} have one frame more than a multiple of {self.temporal}; got {frames}. "
                f"Take {frames - rest}."
            )
        return 1 + later


class _Encoder(Half):
    """Clips (batch, frames, 3, H, W) in [0, 1] -> scaled latents (batch, frames, C, H, W)."""

    def __init__(self, net: Any):
        super().__init__(net.config)
        self.net = _without(net, "decoder", "post_quant_conv")

    def forward(self, clips: Tensor) -> Tensor:
        mean = self.net.encode(2 * clips.transpose(1, 2) - 1).latent_dist.mode()
        return (mean.transpose(1, 2) - self.shift) * self.scale


class _Decoder(Half):
    """Scaled latents -> clips, to be clamped to [0, 1]."""

    def __init__(self, net: Any):
        super().__init__(net.config)
        self.net = _without(net, "encoder", "quant_conv")

    def forward(self, latents: Tensor) -> Tensor:
        raw = (latents / self.scale + self.shift).transpose(1, 2)
        return (self.net.decode(raw).sample.transpose(1, 2) + 1) / 2


def _without(net: Any, *parts: str) -> Any:
    """A copy of the network without these parts."""
    net = copy.deepcopy(net)
    for part in parts:
        setattr(net, part, None)
    return net

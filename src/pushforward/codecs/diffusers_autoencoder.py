"""Latents of the autoencoders of the library `diffusers`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.codecs.autoencoder import FrozenAutoencoder, ImageAutoencoder
from pushforward.optional import require

KINDS = ("AutoencoderKL", "AutoencoderTiny")


@dataclass(frozen=True, kw_only=True)
class DiffusersAutoencoder(ImageAutoencoder):
    """The configuration of a frozen autoencoder of `diffusers`: `build()` reads it and makes a `FrozenAutoencoder`.

    `name` is a folder, or a name on the Hugging Face hub, with a config.json and safetensors of an AutoencoderKL or an
    AutoencoderTiny, such as "stabilityai/sd-vae-ft-ema" or "madebyollin/taesd". Latents of images (3, H, W) have the
    shape (C, H/8, W/8). They are the mean of an AutoencoderKL, shifted and scaled as its configuration says, so that
    their deviation is near one. Raises FileNotFoundError where there is none, ValueError where it is of another kind.
    """

    name: str

    def build(self) -> FrozenAutoencoder:
        net = read_autoencoder(self.name, KINDS)
        stages = len(net.config.get("encoder_block_out_channels") or net.config["block_out_channels"])
        if net.config["in_channels"] != 3 or stages != 4:
            raise ValueError(
                f"{self.name} encodes {net.config['in_channels']} channels in {stages} stages; an autoencoder here has "
                "3 channels, and 4 stages, which make latents of an eighth of an image's side."
            )
        return self.frozen(_Encoder(net), _Decoder(net))


def read_autoencoder(name: str, kinds: tuple[str, ...], subfolder: str | None = None) -> Any:
    """The network of diffusers at this place, which is one of these kinds."""
    library: Any = require("diffusers", "latents")
    try:
        kind = library.AutoencoderKL.load_config(name, subfolder=subfolder)["_class_name"]
        if kind not in kinds:
            raise ValueError(f"{name} holds a {kind}; it must be {' or '.join(kinds)}.")
        return getattr(library, kind).from_pretrained(
            name, subfolder=subfolder, use_safetensors=True, low_cpu_mem_usage=False
        )
    except OSError as error:
        raise FileNotFoundError(
            f"there is no autoencoder {name!r}. Give the folder of one of diffusers, with its config.json and "
            f"safetensors, or its name on the Hugging Face hub. ({error})"
        ) from None


class Half(nn.Module):
    """One of the two networks, and buffers of one value for all channels or one for each, (C, 1, 1):

    scaled = (latent − shift) · scale
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: Any):
        super().__init__()
        shift = torch.tensor(config.get("latents_mean") or config.get("shift_factor") or 0.0)
        deviation = torch.tensor(config.get("latents_std") or 1.0)
        self.register_buffer("shift", shift.reshape(-1, 1, 1))
        self.register_buffer("scale", config.get("scaling_factor", 1.0) / deviation.reshape(-1, 1, 1))


class _Encoder(Half):
    """Images in [0, 1] -> scaled latents."""

    def __init__(self, net: Any):
        super().__init__(net.config)
        self.net, self.linear = net.encoder, getattr(net, "quant_conv", None) or nn.Identity()
        self.features = net.config["latent_channels"]

    def forward(self, images: Tensor) -> Tensor:
        mean = self.linear(self.net(2 * images - 1))[:, : self.features]  # what follows is a log-variance
        return (mean - self.shift) * self.scale


class _Decoder(Half):
    """Scaled latents -> images, to be clamped to [0, 1]."""

    def __init__(self, net: Any):
        super().__init__(net.config)
        self.net, self.linear = net.decoder, getattr(net, "post_quant_conv", None) or nn.Identity()

    def forward(self, latents: Tensor) -> Tensor:
        return (self.net(self.linear(latents / self.scale + self.shift)) + 1) / 2

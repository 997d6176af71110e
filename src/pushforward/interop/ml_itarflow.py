"""Checkpoints of the iTARFlow authors' code.

Their state dict is that of TarFlow (`ml_tarflow`), with `head_blocks` in place of `attn_blocks`, and in each block the
perceptron of the noise level, `time_embed.mlp`.
"""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch import Tensor

from pushforward.flow import Flow
from pushforward.interop.ml_starflow import read_settings
from pushforward.interop.ml_tarflow import networks, read, reordered, their_name, weight
from pushforward.models import ITARFlow


def load_ml_itarflow(
    state_dict_or_path: Mapping[str, Tensor] | str | PathLike[str], config: Mapping[str, Any] | str | PathLike[str]
) -> Flow:
    """A flow from a state dict, or from the path of a checkpoint (read with weights_only=True).

    `config` is a mapping, or the path of a JSON file: in_channels, img_size, patch_size, channels, layers_per_block (a
    number for each block), num_classes, and the range of noise levels t0, t1. Raises ValueError where a setting is not
    served, or the shapes do not fit.
    """
    state, settings = read(state_dict_or_path), read_settings(config)
    flow = configuration(settings).build()
    for block, net in enumerate(networks(flow)):
        own = {}
        for name, ours in net.state_dict().items():
            value = weight(state, ours, *_their_names(block, name))
            own[name] = reordered(name, value, block, raw=net.raw[::-1]).view_as(ours)
        net.load_state_dict(own)
    return flow


def configuration(settings: Mapping[str, Any]) -> ITARFlow:
    """Our model for the authors' settings."""
    for name, served in (("shared_backbone", False), ("input_scale", 1)):
        if (value := settings.get(name, served)) != served:
            raise ValueError(f"the setting {name}={value!r} is not served; {served!r} is.")
    for name in ("patch_size", "channels"):
        if not isinstance(settings[name], int):
            raise ValueError(f"one {name} for all blocks is served; got {settings[name]!r}.")
    side = settings["img_size"]
    return ITARFlow(
        image=(settings["in_channels"], side, side),
        patch=settings["patch_size"],
        width=settings["channels"],
        depths=tuple(settings["layers_per_block"]),
        classes=settings.get("num_classes", 0),
        noise=(settings["t0"], settings["t1"]),
    )


def _their_names(block: int, ours: str) -> tuple[str, ...]:
    """The names that a weight of a block may have, by our name of it. Older checkpoints have `attn_blocks`."""
    if ours.startswith("context_encoder."):
        inner = ours.removeprefix("context_encoder.").removeprefix("parts.0.").removeprefix("parts.1.")
        return (f"blocks.{block}." + ("class_embed" if inner == "table" else f"time_embed.{inner}"),)
    old = their_name(block, ours)
    return old.replace(".attn_blocks.", ".head_blocks."), old

"""Checkpoints of the STARFlow authors' code.

Their state dict holds `blocks.{b}.…` for every step and `blocks.{b}.attn_blocks.{l}.…` for every layer; positions and
masks in it are not read. It differs from ours in three ways: rotary pairs are neighbours, the output is all scales and
then all means, and a token has its channels last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.flow import Flow
from pushforward.models import STARFlow
from pushforward.networks import LayerOptions, PrefixTransformer

Source = Mapping[str, Tensor] | str | PathLike[str]

# ours -> theirs, in a step
NAMES = {
    "first": "sos_embed",
    "read": "proj_in",
    "answer": "proj_out",
    "norm": "final_norm",
    "prefix.linear": "proj_txt",
    "layers": "attn_blocks",
}
LAYER = {  # in a layer
    "attention.out": "attention.proj",
    "mlp.up": "mlp.main.0",
    "mlp.down": "mlp.main.2",
}
GATED = LAYER | {"mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj"}


def load_ml_starflow(state_dict_or_path: Source, config: Mapping[str, Any] | str | PathLike[str]) -> Flow:
    """A flow from a state dict, or from the path of a checkpoint (read with weights_only=True).

    `config` has the constructor arguments of the authors' model, or is the path of a JSON file of them. The flow takes
    embeddings as {"text": (batch, token, feature)}; its latents have the image's shape. The authors' null is the
    embedding of their template of an empty prompt: give it to `flow.guided(conditions={"text": …})`.
    Raises ValueError where a setting is not served, or the shapes do not fit.
    """
    state = _read(state_dict_or_path)
    settings = json.loads(Path(config).read_text()) if isinstance(config, str | PathLike) else dict(config)
    flow = configuration(settings).build()
    for block, net in enumerate(networks(flow)):
        patch = settings.get("patch_size", 1)
        own = {
            name: _converted(name, _their(state, block, name, net), ours, net, patch)
            for name, ours in net.state_dict().items()
        }
        net.load_state_dict(own)
    return flow


def configuration(settings: Mapping[str, Any]) -> STARFlow:
    """Our model for the authors' constructor arguments."""
    served = {
        "rope": 1,
        "sos": 1,
        "use_softplus": 1,
        "use_final_norm": 1,
        "adaln": 0,
        "nvp": 1,
        "use_pretrained_lm": "",
    }
    for name, value in served.items():
        if settings.get(name, value) not in (value, None):
            raise ValueError(f"the setting {name}={settings[name]!r} is not served; {value!r} is.")
    side, patch = settings["img_size"], settings.get("patch_size", 1)
    depths = settings["layers_per_block"]
    if isinstance(depths, int):
        depths = [depths] * settings["num_blocks"]
    top = settings.get("top_block_channels") or None
    text = (settings["txt_size"], settings["txt_dim"]) if settings.get("txt_size") else None
    return STARFlow(
        image=(settings["in_channels"], side, side),
        patch=patch,
        width=settings["channels"],
        deep_width=top,
        depths=tuple(depths),
        text=text,
        reverse_first=settings.get("seq_order", "L2R") == "L2R",
        extent=settings.get("pt_seq_len") or side // patch,
        soft_clip=settings.get("soft_clip") or None,
        layer=LayerOptions(
            head=settings.get("head_dim", 64),
            key_heads=settings.get("num_kv_heads"),
            norm="rms" if settings.get("norm_type", "layer_norm") == "rms_norm" else "layer",
            qk_norm=bool(settings.get("use_qk_norm")),
            post_norm=bool(settings.get("use_post_norm")),
            bias=bool(settings.get("use_bias", True)),
            gated=bool(settings.get("use_swiglu")),
        ),
    )


def networks(flow: Flow) -> list[PrefixTransformer]:
    """The networks of the steps, from the data on."""
    return [part for part in flow.modules() if isinstance(part, PrefixTransformer)]


def _read(source: Source) -> Mapping[str, Tensor]:
    return source if isinstance(source, Mapping) else torch.load(source, map_location="cpu", weights_only=True)


def _their(state: Mapping[str, Tensor], block: int, ours: str, net: PrefixTransformer) -> Tensor:
    gated = net.layers[0].mlp.gate is not None  # pyright: ignore
    name = f".{ours}."
    for our, their in (NAMES | (GATED if gated else LAYER)).items():
        if our != "norm" or name.startswith(".norm."):
            name = name.replace(f".{our}.", f".{their}.")
    key = f"blocks.{block}{name}".rstrip(".")
    if key not in state:
        raise ValueError(f"this is not a checkpoint of this STARFlow configuration: it has no {key!r}.")
    return state[key]


def _converted(name: str, value: Tensor, ours: Tensor, net: PrefixTransformer, patch: int) -> Tensor:
    """A weight in our order."""
    if name == "first" or name == "read.weight":
        value = _channels_first(value.flatten(0, -2) if name == "first" else value, patch, -1)
    elif name.startswith("answer."):
        scale, mean = (_channels_first(half, patch, 0) for half in value.chunk(2))
        value = torch.stack([scale, mean], 1).flatten(0, 1)
    elif ".qkv." in name:
        attention: Any = net.layers[0].attention
        rotated = (attention.heads + attention.key_heads) * net.head
        value = torch.cat([_halves(value[:rotated], net.head), value[rotated:]])
    elif "query_norm" in name or "key_norm" in name:
        value = _halves(value, net.head)
    if value.numel() != ours.numel():
        raise ValueError(f"{name} has the shape {tuple(value.shape)} in the checkpoint, and {tuple(ours.shape)} here.")
    return value.reshape(ours.shape)


def _halves(rows: Tensor, head: int) -> Tensor:
    """Rows of heads in which rotary pairs are neighbours -> in which they are half a head apart."""
    return rows.unflatten(0, (-1, head // 2, 2)).transpose(1, 2).flatten(0, 2)


def _channels_first(t: Tensor, patch: int, axis: int) -> Tensor:
    """The features (row, column, channel) of a token along `axis` -> (channel, row, column)."""
    t = t.movedim(axis, -1)
    return t.unflatten(-1, (patch**2, -1)).transpose(-1, -2).flatten(-2).movedim(-1, axis)

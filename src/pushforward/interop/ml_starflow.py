"""Checkpoints of the STARFlow authors' code, of images and of video.

Their state dict holds `blocks.{b}.…` for every step and `blocks.{b}.attn_blocks.{l}.…` for every layer; positions and
masks in it are not read. It differs from ours in three ways: rotary pairs are neighbours, the output is all scales and
then all means, and a token has its channels last.
"""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.denoising import Learned
from pushforward.flow import Flow
from pushforward.interop.ml_tarflow import read, weight
from pushforward.models import STARFlow, STARFlowV
from pushforward.networks import LayerOptions, NoiseTransformer, PrefixTransformer, ScaledRotary, TextPrefix

Source = Mapping[str, Tensor] | str | PathLike[str]
Network = PrefixTransformer | NoiseTransformer

DEPTH = 8  # layers of the learned denoiser
STEP = 0.3  # it predicts the score times sigma² / 0.3: a loss weighted by sigma / 0.3, and its gradient by sigma

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
    embeddings as {"text": (batch, token, feature)}; its latents have the shape of its events, images or clips. Clips
    (frame, channel, row, column) have any number and size of frames. The authors' null is the embedding of their
    template of an empty prompt: give it to `flow.guided(conditions={"text": …})`. Raises ValueError where a setting is
    not served, or the shapes do not fit.
    """
    state, settings = read(state_dict_or_path), read_settings(config)
    flow = configuration(settings).build()
    for block, net in enumerate(networks(flow)):
        _load(net, state, f"blocks.{block}", settings)
    return flow


def load_ml_denoiser(state_dict_or_path: Source, config: Mapping[str, Any] | str | PathLike[str]) -> Learned:
    """The learned denoiser of a checkpoint that has one, for the flow of the same checkpoint: `flow.denoise(by=…)`.

    Arguments and errors as of `load_ml_starflow`. It takes out the noise of its training, whatever sigma is.
    """
    state, settings = read(state_dict_or_path), read_settings(config)
    if not settings.get("learnable_self_denoiser"):
        raise ValueError("this configuration has no learned denoiser: learnable_self_denoiser is not set.")
    net = denoiser(settings)
    _load(net, state, "learnable_self_denoiser", settings)
    return Learned(net, step=STEP)


def denoiser(settings: Mapping[str, Any]) -> NoiseTransformer:
    """Our network for the learned denoiser of the authors' constructor arguments."""
    width, window = settings["channels"], None
    if settings.get("denoiser_window") is not None:
        ahead = settings.get("temporal_causal", 0) - 1
        window = (settings["denoiser_window"] - ahead, ahead)
    model = configuration(settings)
    text = model.text if settings.get("conditional_denoiser") else None
    return NoiseTransformer(
        (settings["in_channels"], model.patch),
        positions=ScaledRotary((1, 1), prefix=settings.get("txt_size") or 0, extent=model.extent),
        width=width,
        depth=DEPTH,
        options=model.layer,
        prefix=text and TextPrefix(*text, width),
        window=window,
    )


def configuration(settings: Mapping[str, Any]) -> STARFlow | STARFlowV:
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
    side, patch, video = settings["img_size"], settings.get("patch_size", 1), bool(settings.get("temporal_causal"))
    if video and not (settings.get("shallow_block_local", 1) and settings.get("txt_size")):
        raise ValueError("of video models those with shallow_block_local=1 and a text are served.")
    depths = settings["layers_per_block"]
    if isinstance(depths, int):
        depths = [depths] * settings["num_blocks"]
    top = settings.get("top_block_channels") or None
    text = (settings["txt_size"], settings["txt_dim"]) if settings.get("txt_size") else None
    model, size = (STARFlowV, None) if video else (STARFlow, side)
    return model(
        image=(settings["in_channels"], size, size),
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


def read_settings(config: Mapping[str, Any] | str | PathLike[str]) -> dict[str, Any]:
    return json.loads(Path(config).read_text()) if isinstance(config, str | PathLike) else dict(config)


def _load(net: Network, state: Mapping[str, Tensor], place: str, settings: Mapping[str, Any]) -> None:
    """Give a network the weights that the state dict has at `place`."""
    patch = settings.get("patch_size", 1)
    own = {}
    for name, ours in net.state_dict().items():
        value = weight(state, ours, _their_name(place, name, net))
        own[name] = _converted(name, value, net, patch).reshape(ours.shape)
    net.load_state_dict(own)


def _their_name(place: str, ours: str, net: Network) -> str:
    gated = net.layers[0].mlp.gate is not None  # pyright: ignore
    name = f".{ours}."
    for our, their in (NAMES | (GATED if gated else LAYER)).items():
        if our != "norm" or name.startswith(".norm."):
            name = name.replace(f".{our}.", f".{their}.")
    return f"{place}{name}".rstrip(".")


def _converted(name: str, value: Tensor, net: Network, patch: int) -> Tensor:
    """A weight in our order."""
    if name == "first" or name == "read.weight":
        value = _channels_first(value.flatten(0, -2) if name == "first" else value, patch, -1)
    elif name.startswith("answer.") and isinstance(net, NoiseTransformer):
        value = _channels_first(value, patch, 0)
    elif name.startswith("answer."):
        scale, mean = (_channels_first(half, patch, 0) for half in value.chunk(2))
        value = torch.stack([scale, mean], 1).flatten(0, 1)
    elif ".qkv." in name:
        attention: Any = net.layers[0].attention
        rotated = (attention.heads + attention.key_heads) * net.head
        value = torch.cat([_halves(value[:rotated], net.head), value[rotated:]])
    elif "query_norm" in name or "key_norm" in name:
        value = _halves(value, net.head)
    return value


def _halves(rows: Tensor, head: int) -> Tensor:
    """Rows of heads in which rotary pairs are neighbours -> in which they are half a head apart."""
    return rows.unflatten(0, (-1, head // 2, 2)).transpose(1, 2).flatten(0, 2)


def _channels_first(t: Tensor, patch: int, axis: int) -> Tensor:
    """The features (row, column, channel) of a token along `axis` -> (channel, row, column)."""
    t = t.movedim(axis, -1)
    return t.unflatten(-1, (patch**2, -1)).transpose(-1, -2).flatten(-2).movedim(-1, axis)

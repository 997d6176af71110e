"""Checkpoints of the TarFlow authors' code, read and written.

Their state dict holds `blocks.{b}.…` for every flow step, `blocks.{b}.attn_blocks.{l}.…` for every layer, and the
prior's variance `var`. It differs from ours in three ways: a block in reverse order keeps its positions in raster
order, the output is all log-scales and then all shifts, and each block stores its attention mask.
"""

import math
import re
from collections.abc import Mapping
from os import PathLike

import torch
from torch import Tensor

from pushforward.bases import ObservedNormal
from pushforward.flow import Flow
from pushforward.models import TarFlow
from pushforward.moves import Affine, Shift
from pushforward.networks import CausalTransformer
from pushforward.transforms import Autoregressive

# ours -> theirs, in a block; `layers.{l}` is their `attn_blocks.{l}`
NAMES = {
    "read": "proj_in",
    "positions.weight": "pos_embed",
    "context_encoder.table": "class_embed",
    "answer": "proj_out",
    "attention.out": "attention.proj",
    "mlp.0": "mlp.norm",
    "mlp.1": "mlp.main.0",
    "mlp.3": "mlp.main.2",
    "layers": "attn_blocks",
}


def load_ml_tarflow(
    state_dict_or_path: Mapping[str, Tensor] | str | PathLike[str],
    *,
    channels: int,
    image_size: int | tuple[int, int] | None = None,
) -> Flow:
    """A flow from a state dict, or from the path of a checkpoint (read with weights_only=True).

    The configuration follows from the shapes, except for `channels` of the image. `image_size`, the side or (height,
    width) in pixels, is needed only for images that are not square. Raises ValueError where the shapes do not fit.
    """
    state = read(state_dict_or_path)
    flow = _configuration(state, channels, image_size).build()
    variance = weight(state, torch.empty(flow.base.event), "var")
    if not torch.all(variance == 1):  # their sampler uses it with either move
        flow.base = ObservedNormal(*flow.base.event)
    if isinstance(flow.base, ObservedNormal):
        flow.base.load_state_dict({"variance": variance})
    for block, net in enumerate(networks(flow)):
        own = {}
        for name, ours in net.state_dict().items():
            value = weight(state, ours, their_name(block, name))
            own[name] = reordered(name, value, block, raw=net.raw[::-1]).view_as(ours)
        net.load_state_dict(own)
    return flow


def save_ml_tarflow(flow: Flow, path: str | PathLike[str] | None = None) -> dict[str, Tensor]:
    """The authors' state dict of a TarFlow, written to `path` where one is given."""
    steps = networks(flow)
    tokens = flow.base.event[0]
    state = {"var": torch.ones(flow.base.event, device="cpu")}
    if isinstance(flow.base, ObservedNormal):
        state["var"] = flow.base.variance.detach().clone()
    for block, net in enumerate(steps):
        for name, value in net.state_dict().items():
            value = reordered(name, value, block, raw=net.raw).clone()
            state[their_name(block, name)] = value[:, None] if name == "context_encoder.table" else value
        state[f"blocks.{block}.attn_mask"] = torch.ones(tokens, tokens, device="cpu").tril()
    if path is not None:
        torch.save(state, path)
    return state


def read(source: Mapping[str, Tensor] | str | PathLike[str]) -> Mapping[str, Tensor]:
    return source if isinstance(source, Mapping) else torch.load(source, map_location="cpu", weights_only=True)


def weight(state: Mapping[str, Tensor], ours: Tensor, *names: str) -> Tensor:
    """The weight in our place, by the first of these names that the state dict has.

    Raises ValueError where it has none, or one with another number of elements than ours.
    """
    name = next((name for name in names if name in state), None)
    if name is None:
        raise ValueError(
            f"this is not a checkpoint of this configuration by the authors' code: it has no {names[0]!r}."
        )
    if state[name].numel() != ours.numel():
        raise ValueError(
            f"{name} has shape {tuple(state[name].shape)} in the checkpoint, and {tuple(ours.shape)} here."
        )
    return state[name]


def _configuration(state: Mapping[str, Tensor], channels: int, image_size: int | tuple[int, int] | None) -> TarFlow:
    try:
        width, features = state["blocks.0.proj_in.weight"].shape
        tokens, answers = len(state["blocks.0.pos_embed"]), len(state["blocks.0.proj_out.bias"])
    except KeyError as missing:
        raise ValueError(f"this is not a TarFlow checkpoint of the authors' code: it has no {missing}.") from None
    patch = math.isqrt(features // channels)
    side = patch * math.isqrt(tokens)
    height, width_pixels = (side, side) if image_size is None else _pair(image_size)
    if patch**2 * channels != features or height * width_pixels != tokens * patch**2:
        raise ValueError(
            f"the checkpoint has {tokens} tokens of {features} features, which do not make an image of {channels} "
            f"channels and {height} × {width_pixels} pixels. Give its own channels= and image_size=(height, width)."
        )
    classes = state.get("blocks.0.class_embed")
    return TarFlow(
        image=(channels, height, width_pixels),
        patch=patch,
        transforms=_count(state, r"blocks\.(\d+)\."),
        width=width,
        depth=_count(state, r"blocks\.0\.attn_blocks\.(\d+)\."),
        classes=0 if classes is None else len(classes),
        move=Affine() if answers == 2 * features else Shift(),
    )


def networks(flow: Flow) -> list[CausalTransformer]:
    """The networks of the steps, from the data on."""
    steps = [part.net for part in flow.modules() if isinstance(part, Autoregressive)]
    if not steps or not all(isinstance(net, CausalTransformer) for net in steps):
        raise ValueError("this flow is not a TarFlow: every step must be autoregressive, by a causal transformer.")
    return steps  # pyright: ignore[reportReturnType]


def their_name(block: int, ours: str) -> str:
    """The name of a weight of a block in the authors' state dict."""
    name = f".{ours}."
    for our, their in NAMES.items():
        name = name.replace(f".{our}.", f".{their}.")
    return f"blocks.{block}{name}".rstrip(".")


def reordered(name: str, value: Tensor, block: int, raw: tuple[int, ...]) -> Tensor:
    """A weight with its rows in the order of the other code; `raw` is the present shape of an output."""
    if name == "positions.weight" and block % 2:
        return value.flip(0)
    if name.startswith("answer."):
        return value.unflatten(0, raw).transpose(0, 1).flatten(0, 1)
    return value


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max(int(match[1]) for match in map(re.compile(pattern).match, state) if match)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size

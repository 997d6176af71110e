"""Animated characters that are composed of layers, with captions.

Li & Mandt 2018, arXiv:1803.02991. Drawn for the Liberated Pixel Cup: CC-BY-SA 3.0, GPL 3.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.data.clips import SourceOfClips
from pushforward.data.data import Data, Rows, digest, row_numbers
from pushforward.data.npz import find_pack, reading
from pushforward.data.sources import Takes
from pushforward.data.text_encoders import PhraseEncoder
from pushforward.randomness import keyed

CHARACTERS = 1000  # to learn; the 296 others are held out
VERBS, SIDES = ("walking", "casting a spell", "slashing"), ("front", "left", "right")
ACTIONS = tuple(f"{verb} {side}" for verb in VERBS for side in SIDES)
ATTRIBUTES = {  # the values of each layer
    "skin": ("fair", "golden", "grey", "pale", "brown", "dark"),
    "trousers": ("white", "orange", "red", "grey", "teal", "green"),
    "top": ("maroon robe", "blue robe", "white robe", "steel armour", "leather armour", "ivory jacket"),
    "hair": ("green", "blue", "orange", "white", "red", "purple"),
}
PAIRS = tuple((i % 4, i * 7 % 6, i * 4 % 9) for i in range(10))  # of (layer, value, action): never learned together


def caption(attributes: Sequence[int | None], action: int) -> str:
    """The caption of a clip, from the value of each layer, None where it is not told, and the action.

    >>> caption([None, 2, 1, 3], 1)
    'walking left, red trousers, blue robe, white hair'
    """
    told = zip(ATTRIBUTES.items(), attributes, strict=True)
    words = [values[v] if layer == "top" else f"{values[v]} {layer}" for (layer, values), v in told if v is not None]
    return ", ".join([ACTIONS[action], *words])


class SpriteClips(Data):
    """Clips of 8 frames (n, 8, 3, H, W), composed of layers when they are fetched, and embeddings of their captions."""

    def __init__(self, layers: Tensor, rows: Tensor, size: tuple[int, int], captions: list[str], text: PhraseEncoder):
        """`layers` (25, 9, 8, 4, 64, 64) are RGBA; `rows` (n, 5) have the values of four layers and the action."""
        self.layers, self.rows, self.size, self.captions = layers, rows, size, captions
        self._phrases, self._table = text.table(captions)

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        numbers = row_numbers(rows, len(self))
        return composed(self.layers, self.rows[numbers], self.size), self._table[self._phrases[numbers]]

    def fingerprint(self) -> str:
        return digest([self.layers, self.rows, self.size, self.captions])


@dataclass(frozen=True)
class Sprites(SourceOfClips[SpriteClips]):
    """The pack `sprites_layers.npz`: 1,296 characters of four attributes, and 9 actions of 8 frames each.

    Training has 1,000 characters, without ten pairs of an attribute and an action (`PAIRS`); held out are the 296
    others in all actions. Captions tell the action and the attributes; half of those in training leave some attributes
    out. Frames are scaled down to the model's.
    """

    frames: ClassVar[int] = 8  # pyright: ignore[reportIncompatibleVariableOverride]
    pack: str = "sprites_layers"  # a path, or a name in the folder that PUSHFORWARD_DATA names
    text: PhraseEncoder = PhraseEncoder()  # pyright: ignore[reportIncompatibleVariableOverride]
    place: ClassVar[str] = "pack"

    def part(self, takes: Takes, *, held_out: bool) -> SpriteClips:
        layers, rows = read_layers(self.pack)
        if held_out:
            return self._clips(layers, rows[CHARACTERS:].flatten(0, 1), takes)
        rows = rows[:CHARACTERS].flatten(0, 1)
        return self._clips(layers, rows[~has_pair(rows)], takes, told=0.5)

    def pairs(self, takes: Takes) -> SpriteClips:
        """The clips of characters in training whose attribute and action were never learned together."""
        layers, rows = read_layers(self.pack)
        rows = rows[:CHARACTERS].flatten(0, 1)
        return self._clips(layers, rows[has_pair(rows)], takes)

    def _clips(self, layers: Tensor, rows: Tensor, takes: Takes, told: float = 1.0) -> SpriteClips:
        size, generator = size_of(takes), keyed(0)
        kept = torch.rand(len(rows), 4, generator=generator, device="cpu") < 0.5
        kept |= torch.rand(len(rows), 1, generator=generator, device="cpu") < told
        captions = [
            caption([v if keep else None for v, keep in zip(values, kept[i].tolist(), strict=True)], action)
            for i, (*values, action) in enumerate(rows.tolist())
        ]
        return SpriteClips(layers, rows, size, captions, self.text)


def size_of(takes: Takes) -> tuple[int, int]:
    """The height and width of the model's frames. Raises ValueError unless they have 3 channels."""
    channels, height, width = takes.event[-3:]
    if channels != 3:
        raise ValueError(f"model.image has {channels} channels, and sprites have 3. Set it to 3, height, width.")
    return height, width


def read_layers(pack: str) -> tuple[Tensor, Tensor]:
    """Layers (25, 9, 8, 4, 64, 64), and the values of four layers and the action of each clip, (1296, 9, 5)."""
    with reading(find_pack(pack)) as arrays:
        layers = torch.from_numpy(arrays["layers"]).movedim(-1, 3).contiguous()  # planes are composed twice as fast
        order = torch.from_numpy(arrays["perm"].astype(np.int64))
    attributes = torch.stack([order // 216, order // 36 % 6, order // 6 % 6, order % 6], 1)
    actions = torch.arange(9, device="cpu")[None, :, None].expand(len(order), -1, -1)
    return layers, torch.cat([attributes[:, None].expand(-1, 9, -1), actions], 2)


def composed(layers: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Clips of layers (25, 9, frames, 4, 64, 64) by their values and actions (n, 5): (n, frames, 3, H, W) uint8."""
    clips = torch.zeros(len(rows), layers.shape[2], 3, *layers.shape[4:])
    for layer in range(5):  # the fifth, shoes, is the same for all
        index = 6 * layer + rows[:, layer] if layer < 4 else torch.full((len(rows),), 24, device="cpu")
        pixels = layers[index, rows[:, 4]].float()
        clips = torch.lerp(clips, pixels[:, :, :3], pixels[:, :, 3:] / 255)
    small = F.adaptive_avg_pool2d(clips.flatten(0, 1), size)
    return small.round().to(torch.uint8).unflatten(0, (len(rows), -1))


def has_pair(rows: Tensor) -> Tensor:
    """Whether a clip has a pair that is held out, (n,)."""
    found = [(rows[:, layer] == value) & (rows[:, 4] == action) for layer, value, action in PAIRS]
    return torch.stack(found).any(0)

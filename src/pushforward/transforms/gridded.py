"""A transform of images of any height and width."""

from __future__ import annotations

from pushforward.conditions import Context
from pushforward.networks import ScaledRotary
from pushforward.shapes import Events, PerSample
from pushforward.transform import Transform, replaced
from pushforward.transforms.reshape import Patchify


class Gridded(Transform):
    """`step`, of images (B, C, H, W) to latents of the same shape, for any H and W.

    At every call its patches and positions are laid on the grid of the given images; all weights are shared. So `step`
    may have no parameters that belong to a place: its positions are `ScaledRotary`.
    """

    def __init__(self, step: Transform):
        super().__init__()
        self.step = step

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._on(x)(x, context)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._on(z).inverse(z, context)

    def _on(self, x: Events) -> Transform:
        height, width = x.shape[-2:]
        patches = replaced(self.step, Patchify, lambda part: part.on((height, width)))
        patch = next(part.patch for part in self.step.modules() if isinstance(part, Patchify))
        grid = height // patch, width // patch
        return replaced(patches, ScaledRotary, lambda positions: positions.on(grid))  # pyright: ignore[reportReturnType]

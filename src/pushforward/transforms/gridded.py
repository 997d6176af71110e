"""A transform of images, or of clips, of any height and width."""

from collections.abc import Iterator
from itertools import chain

from pushforward.conditions import Context
from pushforward.networks import ScaledRotary
from pushforward.shapes import Events, InParts, PerSample
from pushforward.transform import Transform, replaced
from pushforward.transforms.reshape import Patchify


class Gridded(Transform):
    """`step`, of images (B, …, C, H, W) to latents of the same shape, for any H and W.

    At every call its patches and positions are laid on the grid of the given images; all weights are shared. So `step`
    may have no parameters that belong to a place: its positions are `ScaledRotary`.
    """

    def __init__(self, step: Transform):
        super().__init__()
        self.step = step

    @property
    def causal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.step.causal

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self.fitted_to(x)(x, context)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self.fitted_to(z).inverse(z, context)

    def stream(self, z: InParts, context: Context | None = None, known: Events | None = None) -> Iterator[Events]:
        parts = iter(z)
        first = next(parts)
        return self.fitted_to(first).stream(chain([first], parts), context, known)

    def fitted_to(self, x: Events) -> Transform:
        height, width = x.shape[-2:]
        patches = replaced(self.step, Patchify, lambda part: part.on((height, width)))
        patch = next(part.patch for part in self.step.modules() if isinstance(part, Patchify))
        grid = height // patch, width // patch
        return replaced(patches, ScaledRotary, lambda positions: positions.on(grid, positions.frames))  # pyright: ignore[reportReturnType]

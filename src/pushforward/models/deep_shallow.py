"""What STARFlow and STARFlow-V share: autoregressive steps over patches, shallow ones and a deep one."""

from dataclasses import dataclass, replace
from typing import TypeVar

from pushforward.conditions import Kind, Label, Text
from pushforward.models.model import Model
from pushforward.moves import Affine, Softplus
from pushforward.networks import LabelPrefix, LayerOptions, Prefix, PrefixTransformer, ScaledRotary, TextPrefix
from pushforward.transforms import Autoregressive, Patchify

Self = TypeVar("Self", bound="DeepShallow")


@dataclass(frozen=True, kw_only=True)
class DeepShallow(Model):
    """Causal transformer × affine × autoregressive: shallow steps near the data, and a deep one, which is the last.

    The deep step alone reads the condition, as tokens before its first. Every other step has its tokens in reverse
    order. Gu et al. 2025 (STARFlow), arXiv:2506.06276.
    """

    image: tuple[int, int | None, int | None] = (4, 32, 32)  # channels, height, width of x; None: any size
    patch: int = 1  # side of a patch
    width: int = 3072  # of the residual stream in shallow steps
    deep_width: int | None = None  # in the deep step; None: the same
    depths: tuple[int, ...] = (2, 2, 2, 2, 2, 24)  # transformer layers of each step, from the data on
    text: tuple[int, int] | None = None  # tokens of a text at most, features of their embeddings; None: no text
    classes: int = 0  # 0: not conditioned on a class
    reverse_first: bool = True  # every other step has the tokens in reverse order: the first, or the second
    extent: float = 32  # side of the square on which positions lie: the token grid at which training began
    soft_clip: float | None = 4.0
    layer: LayerOptions = LayerOptions()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text and self.classes:
            raise ValueError("the deep step reads one condition: give text= or classes=, not both.")

    def small(self: Self) -> Self:
        side = 4 * self.patch
        text = self.text and (4, self.text[1])
        return replace(self, image=(self.image[0], side, side), width=64, deep_width=None, depths=(1, 1, 1), text=text)

    def patches(self) -> Patchify:
        """The patches of an image; of one patch where its size is open."""
        channels, height, width = self.image
        return Patchify((channels, height or self.patch, width or self.patch), self.patch)

    def conditions(self) -> dict[str, Kind]:
        """What the deep step reads, by name."""
        if self.text:
            return {"text": Text(*self.text)}
        return {"label": Label(self.classes)} if self.classes else {}

    def is_deep(self, index: int) -> bool:
        """Whether this step is the last, the deep one."""
        return index == len(self.depths) - 1

    def is_reversed(self, index: int) -> bool:
        """Whether this step has its tokens in reverse order."""
        return index % 2 != self.reverse_first

    def autoregressive(self, index: int, frames: int | None = 1) -> Autoregressive:
        """This step, over the tokens of one image, or of so many frames of a clip; None: of any number."""
        deep = self.is_deep(index)
        width = (deep and self.deep_width) or self.width
        features, move = self.image[0] * self.patch**2, Affine(Softplus(), soft_clip=self.soft_clip)
        grid = tuple(side // self.patch for side in self.patches().image[1:])
        net = PrefixTransformer(
            features,
            move.raw_shape(features),
            positions=ScaledRotary(grid, prefix=self.prefix_tokens, frames=frames, extent=self.extent),  # pyright: ignore[reportArgumentType]
            width=width,
            depth=self.depths[index],
            options=self.layer,
            prefix=self.prefix(width) if deep else None,
        )
        return Autoregressive(net, move)

    @property
    def prefix_tokens(self) -> int:
        """How many tokens the conditions have."""
        return self.text[0] if self.text else int(self.classes > 0)

    def prefix(self, width: int) -> Prefix | None:
        """The encoder of the conditions as tokens of this width."""
        if self.text:
            return TextPrefix(*self.text, width)
        return LabelPrefix(self.classes, width) if self.classes else None

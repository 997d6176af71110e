"""STARFlow = causal transformer × affine × autoregressive, over an image's latents: one deep step, and shallow ones.

    x -> patches -> shallow step in reverse order -> shallow step -> … -> deep step -> latents of x's shape

The deep step is the last, next to the prior. It alone reads the condition, as tokens before the image: it is a language
model of latents. Scales are softplus, raw parameters are softly clipped, positions are rotary. x is an image, or the
latent of a frozen autoencoder with noise. Guidance by `guidance.GaussianProduct` acts in the deep step.

Gu et al. 2025, "STARFlow: Scaling Latent Normalizing Flows for High-resolution Image Synthesis", arXiv:2506.06276.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pushforward.bases import StandardNormal
from pushforward.conditions import Kind, Label, Text
from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.moves import Affine, Softplus
from pushforward.networks import LabelPrefix, LayerOptions, PrefixTransformer, ScaledRotary, TextPrefix
from pushforward.transform import Chain, Inverse
from pushforward.transforms import Autoregressive, Flip, Gridded, Patchify, Permuted


@dataclass(frozen=True, kw_only=True)
class STARFlow(Model):
    """The configuration of a STARFlow; `build()` makes the flow.

    >>> flow = STARFlow(image=(4, 8, 8), width=64, depths=(1, 1, 2), text=(6, 10)).build()
    >>> sum(p.numel() for p in flow.parameters())
    203364
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

    def build(self) -> Flow:
        channels, height, width = self.image
        patches = Patchify((channels, height or self.patch, width or self.patch), self.patch)
        steps = Chain(patches, *map(self._step, range(len(self.depths))), Inverse(patches))
        return Flow(
            Gridded(steps) if None in self.image else steps,
            StandardNormal(*self.image),
            event=self.image,
            conditions=self._conditions(),
        )

    def small(self) -> STARFlow:
        side = 4 * self.patch
        text = self.text and (4, self.text[1])
        return replace(self, image=(self.image[0], side, side), width=64, deep_width=None, depths=(1, 1, 1), text=text)

    def _conditions(self) -> dict[str, Kind]:
        if self.text:
            return {"text": Text(*self.text)}
        return {"label": Label(self.classes)} if self.classes else {}

    def _step(self, index: int) -> Autoregressive | Permuted:
        deep = index == len(self.depths) - 1
        width = (deep and self.deep_width) or self.width
        features, move = self.image[0] * self.patch**2, Affine(Softplus(), soft_clip=self.soft_clip)
        rows, columns = (1 if side is None else side // self.patch for side in self.image[1:])
        net = PrefixTransformer(
            features,
            move.raw_shape(features),
            positions=ScaledRotary((rows, columns), prefix=self._prefix_tokens, extent=self.extent),
            width=width,
            depth=self.depths[index],
            options=self.layer,
            prefix=self._prefix(width) if deep else None,
        )
        step = Autoregressive(net, move)
        return Permuted(Flip(), step) if index % 2 != self.reverse_first else step

    @property
    def _prefix_tokens(self) -> int:
        return self.text[0] if self.text else int(self.classes > 0)

    def _prefix(self, width: int) -> TextPrefix | LabelPrefix | None:
        if self.text:
            return TextPrefix(*self.text, width)
        return LabelPrefix(self.classes, width) if self.classes else None

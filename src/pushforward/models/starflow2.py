"""STARFlow2 = STARFlow × a frozen language model, over texts and images in any order.

    image x -> patches -> shallow steps -> u -> deep step, after all that comes before in the document -> latents

    language model   token                     u, by a zero map            -> y
    deep step        y, projected              u, projected + W_i · y      -> h
    answers          softmax(head(y + W_t · h))     N(shift(h), scale(h)²) of the next u

The deep step is a causal transformer beside a frozen language model, under one causal mask over the document, and they
are joined by linear maps that are zero at the start. So texts begin as the language model's, those before an image
stay so, images have exact densities, and one model draws images from texts, writes texts about images, and scores both.

STARFlow2 2026, arXiv:2605.08029. Its latents are of 32 channels on a grid of 16 × 16, its language model is
Qwen2.5-VL-7B.
"""

from dataclasses import dataclass, replace

import torch

from pushforward.bases import StandardNormal
from pushforward.conditions import TokenIds
from pushforward.document_flow import DocumentFlow
from pushforward.models.model import Model
from pushforward.models.starflow import STARFlow
from pushforward.moves import Affine, Softplus
from pushforward.networks import (
    FrozenLanguageModel,
    LanguageModelSizes,
    LanguageStream,
    LayerOptions,
    ScaledRotary,
    TwoStreams,
)
from pushforward.transform import Chain
from pushforward.transforms import Autoregressive, Unpatchify


@dataclass(frozen=True, kw_only=True)
class STARFlow2(Model):
    """The configuration of a STARFlow2; `build()` makes a `DocumentFlow`.

    As a flow it is p(image | text), of texts as tokens of the language model. Texts are discrete, so a document is no
    event: the flow has `document_log_prob`, `draw_image` and `write_text` beside the methods of all flows.

    `language` names a pretrained language model (`networks.FrozenLanguageModel.pretrained`), or gives the sizes of one
    with random weights. A text before the first image stays as it has it. With `sees` it reads images too, as is
    published; without, texts alone: then its cost does not grow with images, and training reads each text once.

    >>> sizes = pf.networks.LanguageModelSizes(width=16, depth=1, heads=2, kv_heads=1, hidden=16, vocabulary=11)
    >>> flow = STARFlow2(image=(3, 4, 4), width=64, depths=(1, 2), text=8, language=sizes).build()
    >>> flow.draw_image([pf.data.Document([[5, 1, 4]])])
    [Document(text of 3 tokens; image 3 × 4 × 4)]
    """

    image: tuple[int, int, int] = (32, 16, 16)  # channels, height, width of x
    patch: int = 1  # side of a patch
    width: int = 3072  # of the residual stream in shallow steps
    deep_width: int | None = None  # in the deep step; None: the same
    depths: tuple[int, ...] = (4, 4, 24)  # transformer layers of each step, from the data on; the last is the deep one
    language: str | LanguageModelSizes = "smollm2"
    sees: bool = True  # whether the language model reads images
    text: int = 128  # tokens at most of the text that an image is conditioned on
    extent: float = 16  # side of the square on which the patches of an image lie
    layer: LayerOptions = LayerOptions()

    def build(self) -> DocumentFlow:
        deep = len(self.depths) - 1
        shallow = STARFlow(
            image=self.image,
            patch=self.patch,
            width=self.width,
            depths=self.depths,
            extent=self.extent,
            reverse_first=deep % 2 == 1,  # so that the deep step is in raster order
            layer=self.layer,
        )
        patches, language = shallow.patches(), self._language()
        return DocumentFlow(
            Chain(patches, *map(shallow.step, range(deep)), self._deep(language), Unpatchify(patches)),
            StandardNormal(*self.image),
            event=self.image,
            conditions={"text": TokenIds(self.text, language.sizes.vocabulary)},
        )

    def small(self) -> Model:
        sizes, side = LanguageModelSizes(width=16, depth=1, heads=2, kv_heads=1, hidden=16), 4 * self.patch
        image = (self.image[0], side, side)
        return replace(self, image=image, width=64, deep_width=None, depths=(1, 1, 1), language=sizes)

    def _language(self) -> FrozenLanguageModel:
        if isinstance(self.language, str):
            return FrozenLanguageModel.pretrained(self.language, torch.get_default_dtype())
        return FrozenLanguageModel(self.language)

    def _deep(self, language: FrozenLanguageModel) -> Autoregressive:
        features, move = self.image[0] * self.patch**2, Affine(Softplus(), soft_clip=4.0)
        grid = self.image[1] // self.patch, self.image[2] // self.patch
        read, context = self.text + self.sees * (1 + grid[0] * grid[1]), language.sizes.context
        if read > context:
            raise ValueError(
                f"the language model reads {context} positions at most, and a text of {self.text} tokens "
                f"{'and an image take' if self.sees else 'takes'} {read}. Lower text."
            )
        net = TwoStreams(
            features,
            move.raw_shape(features),
            language=LanguageStream(language, features, sees=self.sees),
            positions=ScaledRotary(grid, frames=None, extent=self.extent),
            width=self.deep_width or self.width,
            depth=self.depths[-1],
            options=self.layer,
        )
        return Autoregressive(net, move)

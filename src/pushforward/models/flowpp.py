"""Flow++ = gated attention convnet × mixture CDF and affine × coupling; for vectors residual MLP × the same.

    z_kept = x_kept        z_moved = (logit F(x_moved) − t) · exp(−s)

F is the CDF of a mixture of logistics; its parameters, t and s are functions of x_kept. Images: four couplings
move even and odd columns in turn; after squeezing, two move the halves of the channels; then three move columns again.
Before each coupling an actnorm standardises every element, and a matrix that starts near the identity mixes the
channels of each half. It is trained with noise from a flow conditioned on the image: `Dequantiser`.

Ho et al. 2019, "Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture
Design", arXiv:1902.00275. The paper describes checkerboards; the code of its results splits by columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from pushforward.bases import StandardNormal
from pushforward.codecs import CodecConfig, VariationalDequantization
from pushforward.conditions import Image
from pushforward.flow import Flow
from pushforward.models.image import ImageModel, Shape
from pushforward.models.vector import VectorModel
from pushforward.models.vector_or_image import VectorOrImage
from pushforward.moves import Affine, Composed, LogisticMixture, Tanh
from pushforward.networks import GatedAttentionNet, GatedConvolution, SpreadConvolution
from pushforward.randomness import normal
from pushforward.transform import Chain, Inverse, Transform
from pushforward.transforms import (
    LU,
    ActNorm,
    Coupling,
    Interval,
    Matrix,
    Squeeze,
    Unconstrain,
    columns,
    halves,
)


class FlowPlusPlus(VectorOrImage):
    """A Flow++ of vectors where `features` is given, of images (C, H, W) where `image` is.

    >>> FlowPlusPlus(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    >>> FlowPlusPlus(image=(1, 8, 8), width=16, blocks=1, components=4).build().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """


CONTEXT = 32  # channels that the dequantiser's noise is conditioned on


class Reader(nn.Module):
    """The features of an image that the dequantiser's noise is conditioned on: (B, C, H, W) -> (B, 32, H, W/2)."""

    def __init__(self, image: Shape):
        super().__init__()
        self.columns = columns(image)
        layers = [GatedConvolution(CONTEXT, kernel=3, normed=False) for _ in range(3)]
        self.convolutions = nn.Sequential(SpreadConvolution(2 * image[0], CONTEXT), *layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.convolutions(self.columns.arrange(image))


@dataclass(frozen=True, kw_only=True)
class VectorFlowPlusPlus(FlowPlusPlus, VectorModel):
    """The configuration of a Flow++ for vectors; `build()` makes the flow."""

    transforms: int = 6
    components: int = 8

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.transforms):
            yield LU(self.features)
            step = self.coupling_step(move(self.components), halves(self.features, swapped=i % 2 == 1), residual=True)
            bias: Tensor = step.net.layers.answer.bias  # pyright: ignore
            bias.data = normal(0.5, len(bias))  # components start different
            yield step
            yield ActNorm(self.features)


@dataclass(frozen=True, kw_only=True)
class ImageFlowPlusPlus(FlowPlusPlus, ImageModel):
    """The configuration of a Flow++ for images; `build()` makes the flow. The defaults are the paper's for CIFAR-10.

    >>> import torch
    >>> with torch.device("meta"):
    ...     flow, noise = (model(image=(3, 32, 32)).build() for model in (FlowPlusPlus, Dequantiser))
    >>> sum(p.numel() for module in (flow, noise) for p in module.parameters())
    31443440
    """

    width: int = 96
    blocks: int = 10  # in a network
    components: int = 32  # of a mixture

    def small(self) -> ImageModel:
        return replace(self, image=self.miniature, width=8, blocks=1, components=2)

    def assemble(self) -> Iterator[Transform]:
        self.halved(1)
        if self.image[2] % 4:
            raise ValueError(
                f"columns are split before and after squeezing, so the width is a multiple of 4; got {self.image[2]}. "
                "Crop or pad the images."
            )
        squeezed = (4 * self.image[0], self.image[1] // 2, self.image[2] // 2)
        yield self.logits()
        yield from self.by_columns(self.image, 4)
        yield Squeeze()
        for i in range(2):
            yield from self.step(squeezed, i)
        yield from self.by_columns(squeezed, 3)

    def by_columns(self, image: Shape, times: int) -> list[Transform]:
        apart = columns(image)  # into even and odd columns
        steps = [part for i in range(times) for part in self.step((2 * image[0], image[1], image[2] // 2), i)]
        return [apart, *steps, apart.inverted()]

    def step(self, image: Shape, i: int) -> list[Transform]:
        (channels, *_), width = image, self.width
        raw = (channels // 2, move(self.components).params_per_element)
        net = GatedAttentionNet(
            channels // 2,
            raw,
            size=image[1:],
            width=width,
            blocks=self.blocks,
            context_encoder=self.context_encoder(width),
        )
        return step(net, image, i, self.components)


@dataclass(frozen=True, kw_only=True)
class Dequantiser(CodecConfig):
    """The configuration of a variational dequantization: noise from a flow of four steps, conditioned on the image.

    `build()` makes the codec. The defaults are the paper's for CIFAR-10.

    >>> codec = Dequantiser(image=(1, 8, 8), width=8, blocks=1, components=4).build()
    >>> x, log_q = codec.encode(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    >>> x.shape, log_q.shape
    (torch.Size([5, 1, 8, 8]), torch.Size([5]))
    """

    image: Shape
    levels: int = 256
    width: int = 96
    blocks: int = 2
    components: int = 32

    def build(self) -> VariationalDequantization:
        halves, apart = (2 * self.image[0], self.image[1], self.image[2] // 2), columns(self.image)
        steps = [part for i in range(4) for part in step(self.net(), halves, i, self.components)]
        to_noise = Inverse(Chain(apart, *steps, apart.inverted()))
        noise = Flow(
            Chain(Unconstrain([Interval(0, 1)] * self.image[0]), to_noise),
            StandardNormal(*self.image),
            event=self.image,
            conditions={"image": Image(CONTEXT, *halves[1:])},
        )
        return VariationalDequantization(self.levels, noise, Reader(self.image))

    def small(self, image: tuple[int, ...] | None = None) -> CodecConfig:
        return replace(self, image=image or self.image, width=8, blocks=1, components=2)

    def net(self) -> GatedAttentionNet:
        channels, height, width = self.image
        return GatedAttentionNet(
            channels,
            (channels, move(self.components).params_per_element),
            size=(height, width // 2),
            width=self.width,
            blocks=self.blocks,
            given=CONTEXT,
        )


def step(net: nn.Module, image: Shape, i: int, components: int) -> list[Transform]:
    """Actnorm of every element -> mixing of the channels of each half -> coupling of the halves."""
    half = image[0] // 2
    near_identity = normal(0.001, 2, half, half)
    near_identity.diagonal(dim1=1, dim2=2).add_(1)
    split = halves(image[0], swapped=i % 2 == 1)
    return [ActNorm(*image), Matrix(near_identity), Coupling(net, move(components), split)]


def move(components: int) -> Composed:
    return Composed(LogisticMixture(components), Affine(Tanh(1.0)))

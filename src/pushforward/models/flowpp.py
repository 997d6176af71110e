"""Flow++ = gated attention convnet × mixture CDF and affine × coupling, or for vectors residual MLP × the same.

    z_kept = x_kept        z_moved = (logit F(x_moved) − t) · exp(−s),        F of a mixture of logistics

Mixture, t and s are read off x_kept. Of an image, even and odd columns take turns four times; then it is squeezed, and
halves of the channels take turns twice; then columns again, three times. Before each coupling, every number is
normalised, and the channels of each half are mixed by a matrix that starts near the identity. Trained with noise from a
flow of its own, conditioned on the image: `Dequantiser`.

Ho et al. 2019, "Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture
Design", arXiv:1902.00275. The paper speaks of checkerboards; the code that gave its numbers splits by columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.bases import StandardNormal
from pushforward.codecs import CodecConfig, VariationalDequantization
from pushforward.conditions import Image
from pushforward.flow import Flow
from pushforward.models.image import ImageModel, Shape
from pushforward.models.vector import VectorModel
from pushforward.moves import Affine, Composed, LogisticMixture, Tanh
from pushforward.networks import GatedAttentionNet, GatedConvolution, SpreadConvolution
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


def FlowPlusPlus(*, image: Shape | None = None, **choices) -> VectorFlowPlusPlus | ImageFlowPlusPlus:  # noqa: N802
    """A Flow++ of images (C, H, W) where `image` is given, of vectors where `features` are.

    >>> FlowPlusPlus(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    >>> FlowPlusPlus(image=(1, 8, 8), width=16, blocks=1, components=4).build().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """
    return ImageFlowPlusPlus(image=image, **choices) if image else VectorFlowPlusPlus(**choices)


CONTEXT = 32  # channels of what the dequantiser is told


class Reader(nn.Module):
    """What the dequantiser is told of an image: (B, C, H, W) -> (B, 32, H, W/2)."""

    def __init__(self, image: Shape):
        super().__init__()
        self.columns = columns(image)
        layers = [GatedConvolution(CONTEXT, kernel=3, normed=False) for _ in range(3)]
        self.convolutions = nn.Sequential(SpreadConvolution(2 * image[0], CONTEXT), *layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.convolutions(self.columns.arrange(image))


@dataclass(frozen=True, kw_only=True)
class VectorFlowPlusPlus(VectorModel):
    """The configuration of a Flow++ for vectors; `build()` makes the flow."""

    steps: int = 6
    components: int = 8

    def transforms(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.steps):
            yield LU(self.features)
            step = self.coupling_step(move(self.components), halves(self.features, swapped=i % 2 == 1), residual=True)
            nn.init.normal_(step.net.layers.answer.bias, std=0.5)  # pyright: ignore - components must not start alike
            yield step
            yield ActNorm(self.features)


@dataclass(frozen=True, kw_only=True)
class ImageFlowPlusPlus(ImageModel):
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

    @property
    def latent(self) -> tuple[int, ...]:
        return (4 * self.image[0], self.image[1] // 2, self.image[2] // 2)

    def transforms(self) -> list[Transform]:
        self.halved(1)
        if self.image[2] % 4:
            raise ValueError(f"half the width has even and odd columns too; a width of {self.image[2]} has not.")
        squeezed = (4 * self.image[0], self.image[1] // 2, self.image[2] // 2)
        by_channel = [part for i in range(2) for part in self.step(squeezed, i)]
        return [self.logits(), *self.by_columns(self.image, 4), Squeeze(), *by_channel, *self.by_columns(squeezed, 3)]

    def by_columns(self, image: Shape, times: int) -> list[Transform]:
        apart = columns(image)
        steps = [part for i in range(times) for part in self.step((2 * image[0], image[1], image[2] // 2), i)]
        return [apart, *steps, Inverse(columns(image))]

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
    """The configuration of a lift whose noise is a flow of four steps on columns, told of the image.

    `build()` makes the lift. A recipe may have one in place of a lift. The defaults are the paper's for CIFAR-10.

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
        halves = (2 * self.image[0], self.image[1], self.image[2] // 2)
        steps = [part for i in range(4) for part in step(self.net(), halves, i, self.components)]
        to_noise = Inverse(Chain(columns(self.image), *steps, Inverse(columns(self.image))))
        noise = Flow(
            Chain(Unconstrain([Interval(0, 1)] * self.image[0]), to_noise),
            StandardNormal(*self.image),
            event=self.image,
            conditions={"image": Image(CONTEXT, *halves[1:])},
        )
        return VariationalDequantization(self.levels, noise, Reader(self.image))

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
    """Every number normalised, the channels of both halves mixed, and one half moved as the other tells."""
    half = image[0] // 2
    near_identity = torch.eye(half) + 0.001 * torch.randn(2, half, half)
    split = halves(image[0], swapped=i % 2 == 1)
    return [ActNorm(*image), Matrix(near_identity), Coupling(net, move(components), split)]


def move(components: int) -> Composed:
    return Composed(LogisticMixture(components), Affine(Tanh(1.0)))

"""Small flows with random, far from trivial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch

import pushforward as pf
from pushforward.conditions import Vector

Module = TypeVar("Module", bound=torch.nn.Module)


def randomised(flow: Module, std: float = 0.3) -> Module:
    """The last layers have a smaller scale: log-scales of some tenths, so that nothing overflows in sampling."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            parameter.normal_(std=0.2 * std if "answer" in name else std, generator=generator)
    return flow


def plane(classes: int = 0, move: pf.moves.Move = pf.moves.Affine()) -> pf.Flow:
    """A TarFlow of an image of 1 × 2 pixels, in float64: its density can be integrated on a grid."""
    config = pf.models.TarFlow(image=(1, 1, 2), patch=1, transforms=3, width=16, depth=1, classes=classes, move=move)
    return randomised(config.build().double())


def picture(classes: int = 3, image: tuple[int, int, int] = (1, 8, 8), **options) -> pf.Flow:
    """A TarFlow of small images, in float32."""
    return randomised(
        pf.models.TarFlow(image=image, patch=4, transforms=2, width=16, depth=1, classes=classes, **options).build()
    )


def vector(features: int, context: int = 0) -> pf.Flow:
    """An autoregressive flow of a vector, each feature a token, given another vector."""
    move = pf.moves.Affine()

    def step():
        context_encoder = pf.networks.VectorEmbedding(context, 16) if context else None
        net = pf.networks.CausalTransformer(
            1,
            move.raw_shape(1),
            positions=pf.networks.Learned(features, 16),
            width=16,
            depth=1,
            context_encoder=context_encoder,
        )
        return pf.transforms.Autoregressive(net, move)

    shape = Column(features)
    transform = pf.Chain(shape, step(), pf.transforms.Permuted(pf.transforms.Flip(), step()))
    base = pf.bases.StandardNormal(features, 1)
    return pf.Flow(transform, base, event=(features,), conditions={"vector": Vector(context)} if context else {})


class Column(pf.transforms.Rearrangement):
    """A vector as a sequence of tokens of one feature: (batch, D) -> (batch, D, 1)."""

    def __init__(self, features: int):
        super().__init__()
        self.features = features

    def arrange(self, x):
        return x[..., None]

    def restore(self, z):
        return z[..., 0]


@dataclass(frozen=True)
class Mine(pf.models.Model):
    """A model of images that the package does not know: a small Jet."""

    image: tuple[int, int, int] = (1, 8, 8)
    width: int = 16
    classes: int = 0
    steps: int = 2

    def build(self) -> pf.Flow:
        return pf.models.Jet(
            image=self.image, patch=2, transforms=self.steps, width=self.width, depth=1, heads=1
        ).build()

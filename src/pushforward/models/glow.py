"""Glow = convnet × affine or shift × coupling; for vectors MLP × the same.

    step:   actnorm -> mixing of the channels, by a 1 × 1 convolution -> coupling that moves their second half

Each level squeezes 2 × 2 pixels of an image into channels and applies its steps; then half of the channels become
latents, standardised by a prior given the other half, which is the input of the next level. The prior of the last level
is a constant, or one for each class. So z is standard normal in every element, and latents can be interpolated, added
and scaled.

Kingma & Dhariwal 2018, "Glow: Generative Flow with Invertible 1×1 Convolutions", arXiv:1807.03039. As in the authors'
code x is multiplied by sigmoid(raw + 2), where the paper has exp(raw).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pushforward.models.image import ImageModel
from pushforward.models.vector import VectorModel
from pushforward.models.vector_or_image import VectorOrImage
from pushforward.moves import Affine, Elementwise, Shift, Sigmoid
from pushforward.networks import Constant, ConvNet, Shallow
from pushforward.transform import Chain, Transform
from pushforward.transforms import (
    LU,
    ActNorm,
    ConditionalAffine,
    Coupling,
    Matrix,
    MultiScale,
    Permutation,
    Squeeze,
    halves,
    rotation,
    shuffled,
)


class Mixing(ABC):
    """How a step mixes features, or the channels at each place, before its coupling."""

    @abstractmethod
    def __call__(self, channels: int, seed: int) -> Transform:
        """A fresh transform; the same seed gives the same one."""


@dataclass(frozen=True)
class InvertibleConvolution(Mixing):
    """A learned linear map, which starts as a random rotation: `LU` if factored, else `Matrix`."""

    factored: bool = True

    def __call__(self, channels: int, seed: int) -> Transform:
        return LU(channels, seed=seed) if self.factored else Matrix(rotation(channels, seed))


@dataclass(frozen=True)
class Shuffle(Mixing):
    """A random permutation, which is not learned."""

    def __call__(self, channels: int, seed: int) -> Transform:
        return shuffled(channels, seed)


@dataclass(frozen=True)
class Reverse(Mixing):
    """The opposite order."""

    def __call__(self, channels: int, seed: int) -> Transform:
        return Permutation(range(channels)[::-1])


AFFINE = Affine(Sigmoid(0.0, 1.0, offset=2.0))


@dataclass(frozen=True, kw_only=True, init=False)
class Glow(VectorOrImage):
    """A Glow of vectors where `features` is given, of images (C, H, W) where `image` is.

    >>> Glow(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    >>> Glow(image=(1, 8, 8), levels=2, transforms=2, width=16, permutation=Shuffle()).build().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """

    words = {
        "permutation": {
            "conv": InvertibleConvolution(),
            "plain conv": InvertibleConvolution(factored=False),
            "shuffle": Shuffle(),
            "reverse": Reverse(),
        },
        "coupling": {"affine": AFFINE, "additive": Shift()},
    }

    permutation: Mixing = InvertibleConvolution()  # or by a word: conv, "plain conv", shuffle, reverse
    coupling: Elementwise = AFFINE  # or by a word: affine, additive


@dataclass(frozen=True, kw_only=True)
class VectorGlow(Glow, VectorModel):
    """The configuration of a Glow for vectors; `build()` makes the flow."""

    transforms: int = 8

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.transforms):
            yield ActNorm(self.features)
            yield self.permutation(self.features, i)
            yield self.coupling_step(self.coupling, halves(self.features))
        yield ActNorm(self.features)


@dataclass(frozen=True, kw_only=True)
class ImageGlow(Glow, ImageModel):
    """The configuration of a Glow for images; `build()` makes the flow. The defaults are the paper's for CIFAR-10.

    >>> import torch
    >>> with torch.device("meta"):
    ...     flow = Glow(image=(3, 32, 32)).build()
    >>> sum(p.numel() for p in flow.parameters())
    44603604
    """

    levels: int = 3
    transforms: int = 32  # in a level
    width: int = 512

    def small(self) -> ImageModel:
        return replace(self, image=self.miniature, levels=2, transforms=2, width=16)

    def assemble(self) -> Iterator[Transform]:
        self.halved(self.levels)
        channels = [self.image[0] * 2 ** (level + 2) for level in range(self.levels)]
        yield MultiScale(self.image, [self.level(level, c) for level, c in enumerate(channels)])

    def level(self, level: int, channels: int) -> Transform:
        seeds = range(level * self.transforms, (level + 1) * self.transforms)
        steps = [part for seed in seeds for part in self.step(channels, seed)]
        last = level + 1 == self.levels
        return Chain(Squeeze(), *steps, self.constant_prior(channels) if last else self.prior(channels))

    def step(self, channels: int, seed: int) -> list[Transform]:
        split = halves(channels)
        net = ConvNet(split.kept, (split.moved, self.coupling.params_per_element), width=self.width)
        return [ActNorm(channels), self.permutation(channels, seed), Coupling(net, self.coupling, split)]

    def prior(self, channels: int) -> Transform:
        """The prior of a level's latents, given the channels that the next level gets."""
        return Coupling(Shallow(channels // 2, (channels // 2, 2)), Affine(), halves(channels))

    def constant_prior(self, channels: int) -> Transform:
        return ConditionalAffine(Constant((channels, 2), context_encoder=self.context_encoder(2 * channels)), Affine())

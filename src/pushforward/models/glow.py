"""Glow = convnet × affine or shift × coupling, or for vectors MLP × the same.

    step:   actnorm -> 1 × 1 convolution -> coupling, in which the second half of the channels moves

A learned linear map of the channels at each place generalises the permutations of earlier flows. An image is squeezed,
goes through the steps of a level, and half of its channels leave, standardised by a prior that reads those that stay;
at the last level the prior is a constant, one for each class. So z is standard normal everywhere: its numbers can be
interpolated, added and scaled.

Kingma & Dhariwal 2018, "Glow: Generative Flow with Invertible 1×1 Convolutions", arXiv:1807.03039. As in the authors'
code x is multiplied by sigmoid(raw + 2), where the paper has exp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pushforward.models.image import ImageModel, Shape
from pushforward.models.vector import VectorModel
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

Choice = TypeVar("Choice")
Mix = Callable[[int, int], Transform]  # how channels meet, from their number and a seed
MIXES: dict[str, Mix] = {
    "conv": lambda channels, seed: LU(channels, seed=seed),
    "plain conv": lambda channels, seed: Matrix(rotation(channels, seed)),
    "shuffle": shuffled,
    "reverse": lambda channels, _: Permutation(range(channels)[::-1]),
}
COUPLINGS: dict[str, Elementwise] = {"affine": Affine(Sigmoid(0.0, 1.0, offset=2.0)), "additive": Shift()}


def Glow(*, image: Shape | None = None, **choices) -> VectorGlow | ImageGlow:  # noqa: N802
    """A Glow of images (C, H, W) where `image` is given, of vectors where `features` are.

    >>> Glow(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    >>> Glow(image=(1, 8, 8), levels=2, steps=2, width=16).build().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """
    return ImageGlow(image=image, **choices) if image else VectorGlow(**choices)


@dataclass(frozen=True, kw_only=True)
class VectorGlow(VectorModel):
    """The configuration of a Glow for vectors; `build()` makes the flow."""

    steps: int = 8
    permutation: str = "conv"  # a word of MIXES, or a function in its place
    coupling: str = "affine"  # a word of COUPLINGS, or a move in its place

    def transforms(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.steps):
            yield ActNorm(self.features)
            yield chosen(self.permutation, MIXES)(self.features, i)
            yield self.coupling_step(chosen(self.coupling, COUPLINGS), halves(self.features))
        yield ActNorm(self.features)


@dataclass(frozen=True, kw_only=True)
class ImageGlow(ImageModel):
    """The configuration of a Glow for images; `build()` makes the flow. The defaults are the paper's for CIFAR-10.

    >>> import torch
    >>> with torch.device("meta"):
    ...     flow = Glow(image=(3, 32, 32)).build()
    >>> sum(p.numel() for p in flow.parameters())
    44603604
    """

    levels: int = 3
    steps: int = 32  # in a level
    width: int = 512
    permutation: str = "conv"  # a word of MIXES, or a function in its place
    coupling: str = "affine"  # a word of COUPLINGS, or a move in its place

    @property
    def latent(self) -> tuple[int, ...]:
        return (self.image[0] * self.image[1] * self.image[2],)

    def small(self) -> ImageGlow:
        return replace(self, image=self.miniature, levels=2, steps=2, width=16)

    def transforms(self) -> list[Transform]:
        self.halved(self.levels)
        channels = [self.image[0] * 2 ** (level + 2) for level in range(self.levels)]
        return [MultiScale(self.image, [self.level(level, c) for level, c in enumerate(channels)])]

    def level(self, level: int, channels: int) -> Transform:
        seeds = range(level * self.steps, (level + 1) * self.steps)
        steps = [part for seed in seeds for part in self.step(channels, seed)]
        last = level + 1 == self.levels
        return Chain(Squeeze(), *steps, self.constant_prior(channels) if last else self.prior(channels))

    def step(self, channels: int, seed: int) -> list[Transform]:
        move, split = chosen(self.coupling, COUPLINGS), halves(channels)
        net = ConvNet(split.kept, (split.moved, move.params_per_element), width=self.width)
        return [ActNorm(channels), chosen(self.permutation, MIXES)(channels, seed), Coupling(net, move, split)]

    def prior(self, channels: int) -> Transform:
        """Of the half that leaves, given the half that stays."""
        return Coupling(Shallow(channels // 2, (channels // 2, 2)), Affine(), halves(channels))

    def constant_prior(self, channels: int) -> Transform:
        return ConditionalAffine(Constant((channels, 2), context_encoder=self.context_encoder(2 * channels)), Affine())


def chosen(choice: Any, known: dict[str, Choice]) -> Choice:
    """What a word stands for, or the object that was given in its place."""
    if isinstance(choice, str) and choice not in known:
        raise ValueError(f"there are {', '.join(map(repr, known))}; got {choice!r}.")
    return known[choice] if isinstance(choice, str) else choice

"""Real NVP = MLP × affine × coupling, or for images ResNet × affine × coupling.

    z_kept = x_kept        z_moved = (x_moved − t(x_kept)) · exp(−s(x_kept))

Vectors: couplings move features of even and of odd index in turn. They are the paper's from data to latent, z_moved =
x_moved · exp(s) + t, so that the gradient of t is not multiplied by exp(−s), which is large for outliers. Scales start
at 1 and shifts at random; training from the identity is slower.

Images: couplings move the squares of a checkerboard in turn and, after squeezing, the halves of the channels; then half
of the channels become latents, and the others are the input of the next level. The network of a checkerboard coupling
reads the kept squares as an image of half the width; in the paper it reads the whole image, with zeros for the squares
that move.

`ActNorm` after each coupling replaces the paper's batch normalisation, which makes the density of an event depend on
its batch. s is bounded: without a bound deep flows overflow. Dinh et al. 2017, "Density estimation using Real NVP",
arXiv:1605.08803; for vectors as in Papamakarios et al. 2017, arXiv:1705.07057.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pushforward.models.image import ImageModel
from pushforward.models.vector import VectorModel, shift_at_random
from pushforward.models.vector_or_image import VectorOrImage
from pushforward.moves import Affine, SoftClip, Tanh
from pushforward.networks import ResNet
from pushforward.transform import Chain, Inverse, Transform
from pushforward.transforms import (
    ActNorm,
    Coupling,
    MultiScale,
    Permutation,
    Split,
    Squeeze,
    alternating,
    checkerboard,
    halves,
)


class RealNVP(VectorOrImage):
    """A Real NVP of vectors where `features` is given, of images (C, H, W) where `image` is.

    >>> RealNVP(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    >>> RealNVP(image=(1, 8, 8), width=16, blocks=1).build().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """


@dataclass(frozen=True, kw_only=True)
class VectorRealNVP(RealNVP, VectorModel):
    """The configuration of a Real NVP for vectors; `build()` makes the flow."""

    transforms: int = 8  # couplings
    move: Affine = Affine(SoftClip(3.0))  # scales between 1/20 and 20: with a bound of 1000 outliers overflow

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        for i in range(self.transforms):
            step = self.coupling_step(self.move, alternating(self.features, swapped=i % 2 == 0))
            shift_at_random(step)
            yield Inverse(step)
            yield ActNorm(self.features)


@dataclass(frozen=True, kw_only=True)
class ImageRealNVP(RealNVP, ImageModel):
    """The configuration of a Real NVP for images; `build()` makes the flow.

    The defaults are the paper's for CIFAR-10.
    """

    levels: int = 2
    width: int = 64  # of networks of the first checkerboard; twice that for channels; doubled at each level
    blocks: int = 8  # residual blocks in a network
    move: Affine = Affine(Tanh(2.0))

    def small(self) -> ImageModel:
        return replace(self, image=self.miniature, levels=2, width=8, blocks=1)

    def assemble(self) -> Iterator[Transform]:
        self.halved(self.levels)
        (c, h, w), levels = self.image, []
        for level in range(self.levels):
            last, width = level + 1 == self.levels, self.width * 2**level
            steps = [self.step(c, checkerboard((c, h, w), swapped=i % 2 == 1), width) for i in range(4 if last else 3)]
            levels.append([*steps, Squeeze()])
            if not last:
                by_channel = [self.step(4 * c, halves(4 * c, swapped=i % 2 == 1), 2 * width) for i in range(3)]
                diagonal_first = Permutation([4 * channel + pixel for pixel in (0, 3, 1, 2) for channel in range(c)])
                levels[-1] += [*by_channel, diagonal_first]
            c, h, w = 2 * c, h // 2, w // 2
        yield self.logits()
        yield MultiScale(self.image, [Chain(*level) for level in levels])

    def step(self, channels: int, split: Split, width: int) -> Transform:
        """ResNet × affine × coupling, then an actnorm."""
        raw = (split.moved, self.move.params_per_element)
        net = ResNet(split.kept, raw, width=width, blocks=self.blocks, context_encoder=self.context_encoder(width))
        return Chain(Coupling(net, self.move, split), ActNorm(channels))

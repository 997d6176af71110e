"""Jet = vision transformer × affine × coupling, over the patches of an image.

    z_kept = x_kept        z_moved = (x_moved + b(x_kept)) · s(x_kept),        0 < s < 2

Of five couplings, four keep a random half of the features of every patch. The fifth keeps half of the patches: the
squares of a checkerboard, then columns, then rows, and their complements. There is no normalisation and no learned
mixing, and only one level.

Kolesnikov et al. 2024, "Jet: A Modern Transformer-Based Normalizing Flow", arXiv:2412.15129. There s has no lower
bound, so its inverse can overflow; here s > 0.001. There networks attend to labels; here labels are added to the
patches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward.models.image import ImageModel, Shape
from pushforward.moves import Affine, Sigmoid
from pushforward.networks import ViT
from pushforward.transform import Transform
from pushforward.transforms import Coupling, Patchify, Split, whole_tokens, within_tokens


@dataclass(frozen=True, kw_only=True)
class Jet(ImageModel):
    """The configuration of a Jet; `build()` makes the flow.

    >>> Jet(image=(1, 8, 8), patch=2, transforms=5, width=16, depth=1, heads=1).build().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """

    patch: int = 4  # side of a patch, in pixels
    transforms: int = 32  # couplings
    width: int = 512
    depth: int = 2  # transformer layers in a coupling
    heads: int = 8
    move: Affine = Affine(Sigmoid())

    @property
    def miniature(self) -> Shape:
        return (self.image[0], 4 * self.patch, 4 * self.patch)

    def small(self) -> ImageModel:
        return replace(self, image=self.miniature, transforms=5, width=16, depth=1, heads=1)

    def assemble(self) -> Iterator[Transform]:
        patches = Patchify(self.image, self.patch)
        tokens, features = patches.latent_shape(self.image)
        rows, columns = self.image[1] // self.patch, self.image[2] // self.patch
        if rows % 2 or columns % 2 or features % 2:
            raise ValueError(
                "couplings keep half of the patches of every row and column, or half of the features of a patch; "
                f"patch={self.patch} makes {rows} × {columns} patches of {features} features. "
                "Choose a patch for which all three numbers are even."
            )
        yield patches
        for i in range(self.transforms):
            yield self.step(i, tokens, features)

    def step(self, i: int, tokens: int, features: int) -> Transform:
        net = ViT(
            features // 2,
            self.move.raw_shape(features // 2),
            tokens=tokens,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            context_encoder=self.context_encoder(self.width),
        )
        return Coupling(net, self.move, self.split(i, tokens, features))

    def split(self, i: int, tokens: int, features: int) -> Split:
        if i % 5 < 4:
            return within_tokens(tokens, features, seed=i)
        return whole_tokens(self.pattern(i // 5).flatten(), features)

    def pattern(self, k: int) -> Tensor:
        """Which patches of the grid are kept by the k-th coupling of whole patches: (H / patch, W / patch) bool."""
        rows = torch.arange(self.image[1] // self.patch, device="cpu")[:, None]
        columns = torch.arange(self.image[2] // self.patch, device="cpu")[None]
        return (rows + columns, columns + 0 * rows, rows + 0 * columns)[k // 2 % 3] % 2 == k % 2

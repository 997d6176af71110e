"""Transforms that only rearrange elements, with log-determinants of zero."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pushforward.computed import Computed
from pushforward.conditions import Context
from pushforward.shapes import Events, PerSample, Tokens, at_least_float32, patchify, unpatchify
from pushforward.transform import Inverse, Transform, Triangular


class Rearrangement(Triangular):
    """A transform that only rearranges elements: every log-slope is zero."""

    @abstractmethod
    def arrange(self, x: Events) -> Events:
        """x -> z, of x's dtype."""

    @abstractmethod
    def restore(self, z: Events) -> Events:
        """z -> x, of z's dtype."""

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        z = at_least_float32(self.arrange(x))
        return z, torch.zeros_like(z)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x = at_least_float32(self.restore(z))
        return x, x.new_zeros(x.shape[0])

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> None:
        return None


def rearranges(transform: Transform) -> bool:
    """Whether it is a `Rearrangement`, or the inverse of one."""
    return isinstance(transform.transform if isinstance(transform, Inverse) else transform, Rearrangement)


class Flip(Rearrangement):
    """The tokens in the opposite order: (batch, token, feature) -> the same; with axis=2 those of each frame.

    >>> Flip()(torch.tensor([[[1.0], [2.0]]]))[0].flatten()
    tensor([2., 1.])
    """

    def __init__(self, axis: int = 1):
        super().__init__()
        self.axis = axis

    @property
    def causal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.axis > 1

    def arrange(self, x: Tokens) -> Tokens:
        return x.flip(self.axis)

    def restore(self, z: Tokens) -> Tokens:
        return z.flip(self.axis)


class Patchify(Rearrangement):
    """An image (B, C, H, W) as a sequence of square patches (B, T, D), in raster order.

    T = (H / patch) · (W / patch), D = C · patch². The order inside a token is (channel, row, column).

    >>> Patchify((3, 32, 32), patch=4)(torch.zeros(1, 3, 32, 32))[0].shape
    torch.Size([1, 64, 48])
    """

    def __init__(self, image: tuple[int, int, int], patch: int):
        super().__init__()
        if patch < 1 or image[1] % patch or image[2] % patch:
            raise ValueError(
                f"patches of side {patch} do not tile an image of {image[1]} × {image[2]}. Choose a divisor of both."
            )
        self.image, self.patch = image, patch

    def on(self, size: tuple[int, int]) -> Patchify:
        """The patches of an image of another height and width."""
        return Patchify((self.image[0], *size), self.patch)

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        channels, height, width = event
        return height * width // self.patch**2, channels * self.patch**2

    def arrange(self, x: Events) -> Tokens:
        return patchify(x, self.patch).flatten(1, 2)

    def restore(self, z: Tokens) -> Events:
        _, height, width = self.image
        return unpatchify(z.unflatten(1, (height // self.patch, width // self.patch)), self.patch)

    def extra_repr(self) -> str:
        return f"image={self.image}, patch={self.patch}"


class Unpatchify(Rearrangement):
    """Patches as the image that they tile: the opposite of `patches`.

    >>> Unpatchify(Patchify((3, 32, 32), patch=4))(torch.zeros(1, 64, 48))[0].shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(self, patches: Patchify):
        super().__init__()
        self.patches = patches

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return self.patches.image

    def arrange(self, x: Tokens) -> Events:
        return self.patches.restore(x)

    def restore(self, z: Events) -> Tokens:
        return self.patches.arrange(z)


class Squeeze(Rearrangement):
    """Each square of 2 × 2 pixels becomes one pixel: (B, C, H, W) -> (B, 4C, H/2, W/2).

    The new channels are in the order (channel, row, column). Dinh et al. 2017 (Real NVP), arXiv:1605.08803.

    >>> Squeeze()(torch.arange(4.0).reshape(1, 1, 2, 2))[0].flatten()
    tensor([0., 1., 2., 3.])
    """

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        channels, height, width = event
        return 4 * channels, height // 2, width // 2

    def arrange(self, x: Events) -> Events:  # torch's pixel_unshuffle leaves the shape of an empty batch as it is
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, C, H/2, 2, W/2, 2)
        return x.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)

    def restore(self, z: Events) -> Events:
        z = z.unflatten(1, (-1, 2, 2))  # (B, C, 2, 2, H/2, W/2)
        return z.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)


class Regroup(Rearrangement, Computed):
    """All elements of an event in another order and shape: z.flatten(1) = x.flatten(1)[:, places.flatten()].

    `places` has the shape of z's event; each entry is the row-major position of that element in x's event. To make it,
    index `numbered(event)` as x is to be indexed. It is not in the state dict.

    >>> Regroup(numbered((2, 2)).T, event=(2, 2))(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))[0].flatten()
    tensor([1., 3., 2., 4.])
    """

    there: Tensor
    back: Tensor

    def __init__(self, places: Tensor, event: tuple[int, ...]):
        super().__init__()
        self.event, self.latent, self.places = tuple(event), tuple(places.shape), tuple(places.flatten().tolist())
        if sorted(self.places) != list(range(numbered(event).numel())):
            raise ValueError(f"places has each position of an event of shape {self.event} once; got {self.places}.")
        self.register_buffer("there", torch.empty(len(self.places), dtype=torch.long), persistent=False)
        self.register_buffer("back", torch.empty(len(self.places), dtype=torch.long), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Set the indices, which the state dict leaves out."""
        self.there.copy_(torch.tensor(self.places, device="cpu"))
        self.back.copy_(self.there.argsort())

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return self.latent

    def inverted(self) -> Regroup:
        """The opposite rearrangement, from z to x."""
        return Regroup(torch.tensor(self.places, device="cpu").argsort().reshape(self.event), self.latent)

    def arrange(self, x: Events) -> Events:
        return x.flatten(1).index_select(1, self.there).unflatten(1, self.latent)

    def restore(self, z: Events) -> Events:
        return z.flatten(1).index_select(1, self.back).unflatten(1, self.event)

    def extra_repr(self) -> str:
        return f"{self.event} -> {self.latent}"


def numbered(event: tuple[int, ...]) -> Tensor:
    """0, 1, 2, … in the shape of an event: the row-major position of every element, on the CPU."""
    return torch.arange(torch.Size(event).numel(), device="cpu").reshape(event)


def columns(image: tuple[int, int, int]) -> Regroup:
    """Even columns, then odd ones, as channels: (B, C, H, W) -> (B, 2C, H, W/2). Raises ValueError where W is odd."""
    return Regroup(torch.cat(_even_and_odd(image)), image)


def squares(image: tuple[int, int, int]) -> Tensor:
    """The positions of the black squares of a checkerboard of pixels, then of the white ones: (2C, H, W/2)."""
    (even, odd), odd_row = _even_and_odd(image), torch.arange(image[1], device="cpu")[:, None] % 2 == 1
    return torch.cat([torch.where(odd_row, odd, even), torch.where(odd_row, even, odd)])


def _even_and_odd(image: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The positions in even columns, and those in odd ones, (C, H, W/2) each."""
    if image[2] % 2:
        raise ValueError(
            f"columns are split in two halves, so the width is even; got {image[2]}. Crop or pad the images."
        )
    places = numbered(image)
    return places[..., ::2], places[..., 1::2]

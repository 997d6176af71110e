"""Transforms that only move numbers about: their log-determinant is zero."""

from __future__ import annotations

from abc import abstractmethod

import torch

from pushforward.context import Context
from pushforward.shapes import Events, PerSample, Tokens, at_least_float32
from pushforward.transform import Triangular


class Rearrangement(Triangular):
    """A transform that only moves numbers about: every log-slope is zero."""

    @abstractmethod
    def arrange(self, x: Events) -> Events: ...

    @abstractmethod
    def restore(self, z: Events) -> Events: ...

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        z = at_least_float32(self.arrange(x))
        return z, torch.zeros_like(z)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x = at_least_float32(self.restore(z))
        return x, x.new_zeros(len(x))


class Flip(Rearrangement):
    """The tokens in the opposite order: (batch, token, feature) -> the same.

    >>> Flip()(torch.tensor([[[1.0], [2.0]]]))[0].flatten()
    tensor([2., 1.])
    """

    def arrange(self, x: Tokens) -> Tokens:
        return x.flip(1)

    def restore(self, z: Tokens) -> Tokens:
        return z.flip(1)


class Patchify(Rearrangement):
    """An image (B, C, H, W) as a sequence of square patches (B, T, D), in raster order.

    T = (H / patch) · (W / patch), D = C · patch²; inside a token the order is (channel, row, column).

    >>> Patchify((3, 32, 32), patch=4)(torch.zeros(1, 3, 32, 32))[0].shape
    torch.Size([1, 64, 48])
    """

    def __init__(self, image: tuple[int, int, int], patch: int):
        super().__init__()
        if image[1] % patch or image[2] % patch:
            raise ValueError(f"patches of side {patch} do not tile an image of {image[1]} × {image[2]}.")
        self.image, self.patch = image, patch

    def arrange(self, x: Events) -> Tokens:
        p = self.patch
        x = x.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, C, H/p, p, W/p, p)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def restore(self, z: Tokens) -> Events:
        (c, h, w), p = self.image, self.patch
        z = z.unflatten(1, (h // p, w // p)).unflatten(3, (c, p, p))  # (B, H/p, W/p, C, p, p)
        return z.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def extra_repr(self) -> str:
        return f"image={self.image}, patch={self.patch}"


class Reordered(Triangular):
    """A step that works in another order, and gives its answer in the order it was asked in.

    z = order⁻¹(step(order(x))). The log-slopes come back in x's order too.
    """

    def __init__(self, order: Rearrangement, step: Triangular):
        super().__init__()
        self.order, self.step = order, step

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        z, log_slopes = self.step.slopes(self.order.arrange(x), context)
        return self.order.restore(z), self.order.restore(log_slopes)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x, log_det = self.step.inverse(self.order.arrange(z), context)
        return self.order.restore(x), log_det

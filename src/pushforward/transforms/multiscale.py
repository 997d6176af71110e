"""Multi-scale architecture: after each level half of the channels are latent, and the other half enter the next level.

    x -> level 0 -> (h_0, z_0),    h_0 -> level 1 -> (h_1, z_1),    …    -> the last level -> z_last

    z = [z_0 | z_1 | … | z_last], flat

It is a bijection. A learned prior of z_i given h_i can be written as a coupling, the last part of level i. Dinh et al.
2017 (Real NVP), arXiv:1605.08803, section 3.6; Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039.
"""

import torch
from torch import Size, nn

from pushforward.conditions import Context
from pushforward.shapes import Events, PerSample
from pushforward.transform import Transform


class MultiScale(Transform):
    """(B, C, H, W) -> (B, C · H · W). Each level halves height and width, and makes four channels of each.

    The first half of a level's output channels is h_i, the second half z_i; the output of the last level is z_last.

    >>> from pushforward.transforms import Squeeze
    >>> scales = MultiScale((1, 8, 8), [Squeeze(), Squeeze()])
    >>> z, _ = scales(torch.zeros(5, 1, 8, 8))
    >>> z.shape, [tuple(level.shape) for level in scales.levels(z)]
    (torch.Size([5, 64]), [(5, 2, 4, 4), (5, 8, 2, 2)])
    """

    def __init__(self, image: tuple[int, int, int], levels: list[Transform]):
        super().__init__()
        if not levels:
            raise ValueError("a multi-scale transform has at least one level.")
        self.image, self.steps = image, nn.ModuleList(levels)

    @property
    def shapes(self) -> list[Size]:
        """The shapes (C, H, W) of z_0, z_1, …, z_last."""
        (c, h, w), shapes = self.image, []
        for _ in self.steps:
            c, h, w = 2 * c, h // 2, w // 2
            shapes.append(Size((c, h, w)))
        return [*shapes[:-1], Size((2 * c, h, w))]

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return (Size(event).numel(),)

    def levels(self, z: Events) -> list[Events]:
        """z_0, z_1, …, z_last as images (B, C, H, W): views of z."""
        parts = z.split([shape.numel() for shape in self.shapes], 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        *levels, last = self.steps
        total, latents = 0, []
        for level in levels:
            x, log_det = level(x, context)
            x, z = x.chunk(2, 1)
            latents, total = [*latents, z.flatten(1)], total + log_det
        x, log_det = last(x, context)
        return torch.cat([*latents, x.flatten(1)], 1), total + log_det

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        *levels, last = self.steps
        *latents, x = self.levels(z)
        x, total = last.inverse(x, context)  # pyright: ignore[reportCallIssue]
        for level, latent in zip(reversed(levels), reversed(latents), strict=True):
            x, log_det = level.inverse(torch.cat([x, latent], 1), context)  # pyright: ignore[reportCallIssue]
            total = total + log_det
        return x, total

    def extra_repr(self) -> str:
        return f"image={self.image}"

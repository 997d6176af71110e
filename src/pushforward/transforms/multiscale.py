"""Multi-scale: after each level half of the channels leave, and what stays goes on to the next, which sees less detail.

    x -> level 0 -> (left 0, stays) -> level 1 -> (left 1, stays) -> … -> the last level -> what stayed

    z = [left 0 | left 1 | … | what stayed], flat

It is a bijection like any other. That a half which leaves depends on the half that stays, as its learned prior, is the
last part of a level's chain: a coupling. Dinh et al. 2017 (Real NVP), arXiv:1605.08803, section 3.6; Kingma & Dhariwal
2018 (Glow), arXiv:1807.03039.
"""

from __future__ import annotations

import torch
from torch import Size, nn

from pushforward.conditions import Context
from pushforward.shapes import Events, PerSample
from pushforward.transform import Transform


class MultiScale(Transform):
    """(B, C, H, W) -> (B, C · H · W). Each level halves height and width, and has four times the channels.

    The second half of the channels leaves after every level but the last.

    >>> from pushforward.transforms import Squeeze
    >>> scales = MultiScale((1, 8, 8), [Squeeze(), Squeeze()])
    >>> z, _ = scales(torch.zeros(5, 1, 8, 8))
    >>> z.shape, [tuple(level.shape) for level in scales.levels(z)]
    (torch.Size([5, 64]), [(5, 2, 4, 4), (5, 8, 2, 2)])
    """

    def __init__(self, image: tuple[int, int, int], levels: list[Transform]):
        super().__init__()
        self.image, self.steps = image, nn.ModuleList(levels)

    @property
    def shapes(self) -> list[Size]:
        """Of what leaves after each level, and of what stayed in the end."""
        (c, h, w), shapes = self.image, []
        for _ in self.steps:
            c, h, w = 2 * c, h // 2, w // 2
            shapes.append(Size((c, h, w)))
        return [*shapes[:-1], Size((2 * c, h, w))]

    def levels(self, z: Events) -> list[Events]:
        """What left after each level, and what stayed in the end, as images: views of z."""
        parts = z.split([shape.numel() for shape in self.shapes], 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        *steps, last = self.steps
        total, left = 0, []
        for step in steps:
            x, log_det = step(x, context)
            x, leaves = x.chunk(2, 1)
            left, total = [*left, leaves.flatten(1)], total + log_det
        x, log_det = last(x, context)
        return torch.cat([*left, x.flatten(1)], 1), total + log_det

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        *steps, last = self.steps
        *left, x = self.levels(z)
        x, total = last.inverse(x, context)  # pyright: ignore[reportCallIssue]
        for step, leaves in zip(reversed(steps), reversed(left), strict=True):
            x, log_det = step.inverse(torch.cat([x, leaves], 1), context)  # pyright: ignore[reportCallIssue]
            total = total + log_det
        return x, total

    def extra_repr(self) -> str:
        return f"image={self.image}"

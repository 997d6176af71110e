"""Interpolation between images."""

import torch

from pushforward.arrays import as_tensor, check_number
from pushforward.conditions import Given, each
from pushforward.editing.latents import decode, encode, rows
from pushforward.flow import Flow
from pushforward.shapes import Events


def interpolate(flow: Flow, a: Events, b: Events, n: int, *, temperature: float = 1.0, context: Given = None) -> Events:
    """n images from each of a (rows, *event) to its partner in b, along a straight line of latents: (rows, n, *event).

        z_i = temperature · ((1 − t_i) z_a + t_i z_b),        t_i = i / (n − 1)

    At temperature 1 the first is a and the last is b, to rounding; at lower temperatures all latents are nearer to
    zero. `context`, one for all or a row for each pair, is that of all n images; by default the null label. Kingma &
    Dhariwal 2018 (Glow), arXiv:1807.03039, section 6.
    """
    a, b = as_tensor(a, "a"), as_tensor(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"give pairs of images: a has shape {tuple(a.shape)}, and b has {tuple(b.shape)}.")
    check_number(temperature, "temperature", least=0)
    if n < 2:
        raise ValueError(f"an interpolation has at least its two ends; got n={n}.")
    given = rows(flow, len(a), context)
    start, end = encode(flow, a, given)[:, None], encode(flow, b, given)[:, None]
    t = torch.linspace(0, 1, n, dtype=start.dtype, device=start.device).reshape(-1, *[1] * (start.dim() - 2))
    z = temperature * torch.lerp(start, end, t)
    images = decode(flow, z.flatten(0, 1), each(given, lambda t: t.repeat_interleave(n, 0)))
    return images.unflatten(0, (len(a), n))

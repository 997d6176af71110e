"""Variations of images: part of the latent is drawn anew."""

import torch
from torch import Tensor

from pushforward.arrays import as_tensor
from pushforward.conditions import Given, each
from pushforward.editing.holes import broadcast
from pushforward.editing.latents import decode, drawn, encode, rows
from pushforward.flow import Flow
from pushforward.randomness import Source, drawing
from pushforward.shapes import Events


@drawing
def vary(
    flow: Flow, images: Events, mask: Tensor, n: int, *, context: Given = None, generator: Source = None
) -> Events:
    """n variations of each of the images (rows, *event), whose latents are drawn anew from the base where `mask` is
    True.

    `mask` is a bool that broadcasts to (rows, *latent). Where it is False latents stay as they are, so the more of it
    is True, the less a variation has of its image; which part of the image that is depends on the flow. Returns
    (rows, n, *event). `context` is one for all images or a row for each; by default the null label. A `Keyed` generator
    has a key for each of rows · n variations.

    >>> from pushforward.models import RealNVP
    >>> flow = RealNVP(image=(1, 4, 4), levels=1, width=8, blocks=1).build()
    >>> vary(flow, torch.zeros(2, 1, 4, 4), torch.arange(16) < 8, 3).shape
    torch.Size([2, 3, 1, 4, 4])
    """
    images, mask = as_tensor(images, "the array of images"), as_tensor(mask, "the mask")
    if n < 1:
        raise ValueError(f"make at least one variation of each image; got n={n}.")
    given = rows(flow, len(images), context)
    z = encode(flow, images, given)
    z, anew = (t.repeat_interleave(n, 0) for t in (z, broadcast(mask, z)))
    given = each(given, lambda t: t.repeat_interleave(n, 0))
    varied = decode(flow, torch.where(anew, drawn(flow, z, given, generator), z), given)
    return varied.unflatten(0, (len(images), n))

"""Images to standardised latents and back, in bounded memory.

Latents can be averaged, added and scaled where every element of z has the same scale. This holds for every base but
`ObservedNormal`, which estimates a deviation for each element: there z is divided by it.

Without a context, a flow conditioned on labels gets the null label. Given an image's own label, its latent need not
contain the label, which is what one wants to edit.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.arrays import as_tensor, tensor_for
from pushforward.bases import ObservedNormal
from pushforward.codecs import Codec
from pushforward.conditions import Context, Given
from pushforward.data import Data
from pushforward.data.data import listed
from pushforward.flow import Flow
from pushforward.randomness import Keyed, Source
from pushforward.shapes import Events

CHUNK = 64  # images encoded or decoded at once


def encode(flow: Flow, images: Events, context: Given = None) -> Events:
    """images -> standardised latents."""
    images = as_tensor(images, "the array of images").to(flow.device)
    if images.dim() != len(flow.event) + 1:
        raise ValueError(f"give several images, (n, *{tuple(flow.event)}); got {tuple(images.shape)}. One is x[None].")
    return _in_chunks(flow.encode, images, rows(flow, len(images), context)) / _deviations(flow)


@torch.no_grad()
def encoded(flow: Flow, images: Tensor | Data, codec: Codec, context: Given = None, seed: int = 0) -> Iterator[Events]:
    """Images, of integers where the codec takes them -> standardised latents, in chunks (rows, *latent).

    Noise of the codec is a function of (seed, the image's index). Raises FloatingPointError where latents overflow.
    """
    given = rows(flow, len(images), context)
    for part in torch.arange(len(images), device="cpu").split(CHUNK):
        data = images[part] if isinstance(images, Tensor) else images.fetch(part)[0]
        x = codec.encode(data, Keyed(seed, rows=part.tolist()))[0]
        z = encode(flow, x, conditions.each(given, lambda t, part=part: t[part]))
        lost = part[~z.flatten(1).isfinite().all(1).cpu()]
        if len(lost):
            raise FloatingPointError(f"the latent of {listed(lost.tolist())} of the images is not finite: remove them.")
        yield z


def decode(flow: Flow, latents: Events, context: Given = None) -> Events:
    """Standardised latents -> images."""
    latents = tensor_for(flow, latents, "z")
    return _in_chunks(flow.decode, latents * _deviations(flow), rows(flow, len(latents), context))


def drawn(flow: Flow, like: Events, context: Context, generator: Source) -> Events:
    """Standardised latents of the flow's base, of the shape of others."""
    noise = flow.base.sample(len(like), context, event=tuple(like.shape[1:]), generator=generator)
    return (noise / _deviations(flow)).to(like)


def rows(flow: Flow, n: int, context: Given) -> Context:
    """The context of n images; by default the null label, where the flow is conditioned on labels."""
    return conditions.rows(flow.context(-1 if context is None and flow.classes else context), (n,))


def _deviations(flow: Flow) -> Tensor | float:
    return flow.base.variance.sqrt() if isinstance(flow.base, ObservedNormal) else 1.0


@torch.no_grad()
def _in_chunks(function: Callable[[Events, Context], Events], x: Events, context: Context) -> Events:
    parts = [slice(start, start + CHUNK) for start in range(0, max(len(x), 1), CHUNK)]
    return torch.cat([function(x[part], conditions.each(context, lambda t, part=part: t[part])) for part in parts])

"""Images to standardised latents and back, in bounded memory.

Where every element of z has the same scale, latents can be averaged, added and scaled. So they have in every base but
`ObservedNormal`, which estimates the elements' deviations: there z is divided by them.

A flow conditioned on labels is given the null label where there is no context. Given its own label, an image
has a latent that need not know it, and the label is what one wants to edit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward import conditions
from pushforward.bases import ObservedNormal
from pushforward.conditions import Context, Given
from pushforward.flow import Flow
from pushforward.shapes import Events

CHUNK = 64  # images that are encoded or decoded at once


def encode(flow: Flow, images: Events, context: Given = None) -> Events:
    """images -> standardised latents."""
    return _in_chunks(flow.encode, images.to(flow.device), rows(flow, len(images), context)) / _deviations(flow)


def decode(flow: Flow, latents: Events, context: Given = None) -> Events:
    """Standardised latents -> images."""
    return _in_chunks(flow.decode, latents * _deviations(flow), rows(flow, len(latents), context))


def rows(flow: Flow, n: int, context: Given) -> Context:
    """The context of n images: the null label where a flow of labels was given none."""
    return conditions.rows(flow.context(-1 if context is None and flow.classes else context), (n,))


def _deviations(flow: Flow) -> Tensor | float:
    return flow.base.variance.sqrt() if isinstance(flow.base, ObservedNormal) else 1.0


@torch.no_grad()
def _in_chunks(function: Callable[[Events, Context], Events], x: Events, context: Context) -> Events:
    parts = [slice(start, start + CHUNK) for start in range(0, max(len(x), 1), CHUNK)]
    return torch.cat([function(x[part], conditions.each(context, lambda t, part=part: t[part])) for part in parts])

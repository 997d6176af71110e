"""Attributes as directions of latents: edit an attribute of an image, and read how much of it the image has.

    d_k    = mean of z over images with attribute k − mean of z over those without it
    edit     z -> z + amount · d
    read     <z, d> / |d|²

over standardised latents. An edit by `amount` raises the reading by exactly that. Edits add: an edit along
0.5 d_0 − d_2 is both at once. The readings of other attributes change too, unless their directions are orthogonal,
which in data they need not be. Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039, section 6.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.arrays import as_tensor, check_number
from pushforward.codecs import Codec, Identity
from pushforward.conditions import Given
from pushforward.data import Data
from pushforward.editing.latents import decode, encode, encoded
from pushforward.flow import Flow
from pushforward.shapes import Events, spread


def directions(
    flow: Flow,
    images: Tensor | Data,
    labels: Tensor,
    *,
    codec: Codec = Identity(),
    context: Given = None,
    seed: int = 0,
) -> Events:
    """The direction of every attribute, (attributes, *latent), from images (n, *event) and their attributes.

    `labels` are booleans (n, attributes), or (n,) for a single attribute, or integer classes (n,), each class an
    attribute. Images of integers are encoded by `codec`, with noise that is a function of (seed, the image's index).
    Images are fetched and encoded in chunks. `context` is one for all images or a row for each; by default the null
    label. Raises ValueError where all images have an attribute, or none has.

    >>> from pushforward.models import RealNVP
    >>> flow, images = RealNVP(image=(1, 4, 4), levels=1, width=8, blocks=1).build(), torch.rand(6, 1, 4, 4)
    >>> d = directions(flow, images, torch.tensor([0, 1, 2, 0, 1, 2]))
    >>> d.shape
    torch.Size([3, 16])
    >>> print(f"{(read(flow, edit(flow, images, d[2], 0.5), d[2]) - read(flow, images, d[2])).mean():.3f}")
    0.500
    """
    images = images if isinstance(images, Data) else as_tensor(images, "the array of images")
    return directions_of(encoded(flow, images, codec, context, seed), _membership(labels, len(images)))


@torch.no_grad()
def directions_of(latents: Iterable[Events], labels: Tensor) -> Events:
    """The direction of every attribute, (attributes, *latent), from standardised latents in parts (rows, *latent).

    `labels` are those of all rows, in order.
    """
    has, done, with_it, of_all = _membership(labels, len(labels)), 0, 0, 0
    for z in latents:
        wide = z.double().cpu()
        with_it = with_it + torch.einsum("nk,n...->k...", has[done : done + len(z)].double(), wide)
        of_all = of_all + wide.sum(0)
        done += len(z)
    n = has.sum(0).reshape(-1, *[1] * of_all.dim())  # pyright: ignore - there is a row
    return (with_it / n - (of_all - with_it) / (len(has) - n)).to(z)  # pyright: ignore - there is a row


def edit(flow: Flow, images: Events, direction: Tensor, amount: float | Tensor, *, context: Given = None) -> Events:
    """The images with `amount` more of the attribute. Direction (*latent) and amount: one for all, or one an image."""
    z, direction = encode(flow, images, context), _checked(flow, direction)
    amount = as_tensor(amount, "the amount")
    for extreme in amount.aminmax() if amount.numel() else ():
        check_number(extreme.item(), "the amount")
    amount = amount.to(z)
    if amount.shape not in ((), z.shape[:1]) or direction.shape not in (z.shape[1:], z.shape):
        raise ValueError(
            f"an edit takes one direction and one amount, or a row for each of {len(z)} images; got directions "
            f"{tuple(direction.shape)} and amounts {tuple(amount.shape)}. Add several directions first."
        )
    return decode(flow, z + spread(amount, z) * direction.to(z), context)


def read(flow: Flow, images: Events, direction: Tensor, *, context: Given = None) -> Tensor:
    """How much of an attribute each image has, (n,); for directions (attributes, *latent), (n, attributes).

    Between the images with and without the attribute, from which its direction was computed, the mean differs by 1.
    """
    z = encode(flow, images, context).flatten(1)
    d = _checked(flow, direction).to(z).flatten(-len(flow.base.event))
    return z @ (d / d.square().sum(-1, keepdim=True)).movedim(-1, 0)


def _checked(flow: Flow, direction: Tensor) -> Tensor:
    latent, direction = tuple(flow.base.event), as_tensor(direction, "the direction")
    if direction.shape[-len(latent) :] != latent or direction.dim() > len(latent) + 1:
        raise ValueError(f"latents of this flow have shape {latent}; the direction has {tuple(direction.shape)}.")
    return direction


def _membership(labels: Tensor, n: int) -> Tensor:
    """Which images have which attribute: bool (n, attributes)."""
    labels = as_tensor(labels, "labels").cpu()
    if not n or labels.shape[:1] != (n,) or labels.dim() != 1 + (labels.dtype == torch.bool and labels.dim() > 1):
        raise ValueError(
            f"labels are booleans ({n}, attributes) or classes ({n},), a row for each of {n} images; these are "
            f"{labels.dtype} of shape {tuple(labels.shape)}."
        )
    if labels.dtype == torch.bool:
        has = labels.reshape(n, -1)
    elif labels.is_floating_point() or labels.is_complex() or labels.min() < 0:
        raise ValueError(f"classes are integers from 0 on; these are {labels.dtype}, from {labels.min()} on.")
    else:
        has = F.one_hot(labels.long()).bool()
    count = has.sum(0).tolist()
    k = next((k for k, have in enumerate(count) if have in (0, n)), None)
    if k is not None:
        raise ValueError(
            f"a direction needs images with and without its attribute: {count[k]} of {n} have attribute {k}."
        )
    return has

"""What the transforms of a flow make of an event, block by block, with every element back at its place."""

import math
from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.conditions import Context, Given, expand
from pushforward.flow import Flow
from pushforward.shapes import Events
from pushforward.transform import Traced, Transform, flattened, trace
from pushforward.transforms import MultiScale, Rearrangement

Rearranged = tuple[Rearrangement | Tensor, ...]  # what was rearranged before, or factored out: latents (1, C, H, W)


class Block(NamedTuple):
    """What one block made of an event: its output and log-slopes, both of the event's shape, and its log-det."""

    z: Events
    log_slopes: Events
    log_det: float


@torch.no_grad()
def blocks(flow: Flow, x: Events, given: Given = None) -> list[Block]:
    """The blocks of a flow for one event, (1, *event). Their log-dets sum to log p(x) − log p(z).

    A block is a transform with a network, and those without one before it, such as an `ActNorm`; the last block has
    those after it too. The log-det of a transform without log-slopes is spread evenly over the elements that it reads.
    Latents that a multi-scale flow has factored out stand beside the rest, at the places of the halves that they were.
    Empty where a transform leaves no place for each element.
    """
    if any(isinstance(part, MultiScale) for part in [*flattened(flow.transform)][:-1]):
        return []  # what comes after it sees a vector
    found, whole = list[Block](), True  # whether the last one has its network
    for (part, z, slopes), rearranged in _traced(flow.transform, x, flow.embedded(expand(flow.context(given), (1,)))):
        if slopes.shape != z.shape:
            slopes = (slopes.sum() / z.numel()).expand_as(z)
        slopes = _placed(slopes, rearranged, beside=0)
        if slopes.shape != x.shape:
            return []
        block = Block(_placed(z, rearranged)[0], slopes[0], slopes.double().sum().item())
        found.append(block if whole else _joined(found.pop(), block))
        whole = any(hasattr(inner, "net") for inner in part.modules())
    return found if whole or len(found) < 2 else [*found[:-2], _joined(*found[-2:])]


def _traced(
    transform: Transform, x: Events, context: Context, rearranged: Rearranged = ()
) -> Generator[tuple[Traced, Rearranged], None, tuple[Events, Rearranged]]:
    """Every transform that moves elements, with what came before it. Returns the last output, and what came before."""
    for part in flattened(transform):
        if isinstance(part, MultiScale):
            levels: list[Transform] = [*part.steps]  # pyright: ignore[reportAssignmentType]
            for level in levels[:-1]:
                x, rearranged = yield from _traced(level, x, context, rearranged)
                x, latents = x.chunk(2, 1)
                rearranged = *rearranged, latents
            x, rearranged = yield from _traced(levels[-1], x, context, rearranged)
            continue
        for traced in trace(part, x, context):
            x = traced.z
            if isinstance(traced.transform, Rearrangement):
                rearranged = *rearranged, traced.transform
            else:
                yield traced, rearranged
    return x, rearranged


def _placed(z: Events, rearranged: Rearranged, beside: float = 1) -> Events:
    """Every element at its place in the event, beside what was factored out, times `beside`."""
    for before in reversed(rearranged):
        z = before.restore(z) if isinstance(before, Rearrangement) else torch.cat([z, beside * before], 1)
    return z


def _joined(first: Block, second: Block) -> Block:
    return Block(second.z, first.log_slopes + second.log_slopes, first.log_det + second.log_det)


def bits(flow: Flow, found: list[Block], log_p: float) -> Events:
    """Where the bits of an event are, of its shape: they sum to −log2 p.

    An element has the bits of its latent, and those of its slopes in every block. The log-density of a base whose
    elements are not standard normal is spread evenly.
    """
    nats = -torch.stack([block.log_slopes for block in found]).sum(0)
    if flow.base.standard:
        nats = nats + 0.5 * found[-1].z.square() + 0.5 * math.log(2 * math.pi)
    return (nats + (-log_p - nats.sum()) / nats.numel()) / math.log(2)

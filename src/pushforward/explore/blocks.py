"""What the transforms of a flow make of an event, one by one, with every element back at its place."""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import torch

from pushforward.bases import StandardNormal
from pushforward.conditions import Given
from pushforward.flow import Flow
from pushforward.shapes import Events
from pushforward.transforms import Rearrangement


class Block(NamedTuple):
    """What one transform made of an event: its output and log-slopes, both of the event's shape, and its log-det."""

    z: Events
    log_slopes: Events
    log_det: float


@torch.no_grad()
def blocks(flow: Flow, x: Events, given: Given = None) -> list[Block]:
    """Every transform that changes values of one event, (1, *event). A transform's log-det alone is spread evenly.

    Empty where a transform leaves no place for each element, as a multi-scale one.
    """
    found, moved = [], []
    for part, z, log_slopes in flow.trace(x, given):
        if isinstance(part, Rearrangement):
            moved.insert(0, part)
            continue
        if z.numel() != x.numel():
            return []
        log_det = log_slopes.sum().item()
        if log_slopes.shape != z.shape:
            log_slopes = torch.full_like(z, log_det / z.numel())
        z, log_slopes = (reduce(lambda t, part: part.restore(t), moved, t) for t in (z, log_slopes))
        if z.shape != x.shape:
            return []
        found.append(Block(z[0], log_slopes[0], log_det))
    return found


def bits(flow: Flow, found: list[Block], log_p: float) -> Events:
    """Where the bits of an event are, of its shape: they sum to −log2 p.

    An element has the bits of its latent, and those of its slopes in every block. The log-density of a base whose
    elements are not standard normal is spread evenly.
    """
    nats = -torch.stack([block.log_slopes for block in found]).sum(0)
    if isinstance(flow.base, StandardNormal):
        nats = nats + 0.5 * found[-1].z.square() + 0.5 * math.log(2 * math.pi)
    return (nats + (-log_p - nats.sum()) / nats.numel()) / math.log(2)

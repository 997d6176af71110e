"""What is done to the networks of an objective, from outside, before it is trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from pushforward.training.plan import Plan
from pushforward.transform import Transform


def prepare(objective: nn.Module, plan: Plan) -> None:
    """Have the networks forget their activations, or go through torch.compile, if the plan says so.

    In place, and no weight changes its name. The networks alone: the transforms around them stay as they are.
    """
    from torch.distributed._composable.checkpoint_activation import checkpoint  # slow to import

    for network in networks(objective):
        if plan.recomputed:
            checkpoint(network)
        if plan.compiled:
            network.compile()


def networks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules inside transforms that are not transforms themselves: who says by how much."""
    for child in module.children():
        inside = isinstance(module, Transform) and not isinstance(child, Transform | nn.ModuleList)
        yield from [child] if inside else networks(child)

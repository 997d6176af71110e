"""What is done to the networks of an objective, from outside, before it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from pushforward.data import Data, Order
from pushforward.randomness import Keyed
from pushforward.training.objective import Objective
from pushforward.training.plan import Plan
from pushforward.transform import Transform
from pushforward.transforms import reversible

INITIAL = 10_000  # events of few elements: a standard deviation is then known to a hundredth


def initialize(objective: Objective, data: Data, plan: Plan) -> None:
    """Data-dependent initialisation by the first events, where the flow wants it and had none.

    The same events in every process, in the order of the first epoch: a batch of them, or more if they are small.
    """
    if objective.flow.initialized is None or objective.flow.initialized:
        return
    elements = math.prod(axis or 1 for axis in objective.flow.event)
    few = min(len(data), max(plan.batch, min(INITIAL, 2**18 // elements)))
    events, context = data.fetch(Order(len(data), seed=plan.seed)[0:few])
    objective.initialize(events.to(objective.flow.device), context, Keyed(plan.seed, -1, rows=range(few)))


def prepare(objective: Objective, plan: Plan) -> None:
    """Have the networks forget their activations, or go through torch.compile, and chains be reversible, if the plan
    says so.

    In place, and no weight changes its name.
    """
    if plan.reversible:
        objective.flow.transform = reversible(objective.flow.transform)
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

"""Before training: data-dependent initialisation, activation checkpointing, compilation, reversible chains."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from pushforward.data import Data, Order
from pushforward.moves import Move
from pushforward.objectives import Objective
from pushforward.randomness import Keyed
from pushforward.training.plan import Plan
from pushforward.transform import Transform
from pushforward.transforms import Continuous, reversible

INITIAL = 10_000  # events of few elements: the error of a standard deviation is then about a hundredth


def initialize(objective: Objective, data: Data, plan: Plan) -> None:
    """Data-dependent initialisation from the first events, where the flow needs it and had none.

    Every process uses the same events, the first of the first epoch: a batch of them, or more where events are small.
    """
    if objective.flow.initialized is None or objective.flow.initialized:
        return
    elements = math.prod(axis or 1 for axis in objective.flow.event)
    few = min(len(data), max(plan.batch, min(INITIAL, 2**18 // elements)))
    events, context = data.fetch(Order(len(data), seed=plan.seed)[0:few])
    objective.initialize(events.to(objective.flow.device), context, Keyed(plan.seed, -1, rows=range(few)))


@contextmanager
def prepared(objective: Objective, plan: Plan) -> Iterator[None]:
    """Activation checkpointing, torch.compile and reversible chains, as the plan says.

    In place; names of weights do not change. After the block the flow has its own transform, and networks keep their
    activations again.
    """
    flow = objective.flow
    transform = getattr(flow, "transform", None)  # a learned inverse has none
    if plan.reversible:
        if transform is None or any(isinstance(part, Continuous) for part in flow.modules()):
            kind = "is continuous" if transform is not None else "is a learned inverse"
            raise ValueError(f"reversible=True is for chains of steps, and this flow {kind}: give recomputed=True.")
        flow.transform = reversible(transform)
    found = dict.fromkeys(networks(objective))
    for network in found if plan.recomputed else ():
        network.forward = partial(checkpoint, network.forward, use_reentrant=False)
    for network in found if plan.compiled else ():
        for block in blocks(network):
            block.compile()
    try:
        yield
    finally:
        if transform is not None:
            flow.transform = transform
        for network in found if plan.recomputed else ():
            del network.forward


def networks(module: nn.Module) -> Iterator[nn.Module]:
    """The networks: the outermost modules inside transforms that are neither transforms nor moves.

    A move's weights are those of the flow's arithmetic: it is not called through (), so nothing can be put on its call.
    """
    for child in module.children():
        inside = isinstance(module, Transform) and not isinstance(child, Transform | Move | nn.ModuleList)
        yield from [child] if inside else networks(child)


def blocks(network: nn.Module) -> list[nn.Module]:
    """What is compiled of a network: its layers, where all are of one kind and compile once; or all of it."""
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(part) for part in module}) == 1:
            return list(module)
    return [network]

"""Sharded training by FSDP2: each process holds a share of the weights, of their gradients, moments and averages.

The blocks of networks are sharded one by one: the weights of a block are gathered when it is called, and freed after
it, in the forward and in the backward pass. All other weights, those of the flow's arithmetic among them, are gathered
for the whole of a step. They are gathered as they are stored, in float32, so the arithmetic is that of one process, in
every precision. Nothing is gathered but by calling a module: `block(h)`.

A copy of averaged weights is stored in the same shares and is never called; `whole` makes a flow of it.
"""

import copy
import os
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pushforward.networks import TwoStreams
from pushforward.objectives import Objective
from pushforward.training import ranks
from pushforward.training.plan import Plan
from pushforward.training.prepare import blocks, networks

Mesh = Any  # torch.distributed.device_mesh.DeviceMesh, which is slow to import
Module = TypeVar("Module", bound=nn.Module)


def mesh_of(plan: Plan, device: torch.device) -> Mesh | None:
    """The processes among which weights are divided: all, or those of a node; None where each holds all weights."""
    if plan.parallel == "replicated" or ranks.size() == 1:
        return None
    from torch.distributed.device_mesh import init_device_mesh

    together = ranks.size() if plan.parallel == "sharded" else int(os.environ.get("LOCAL_WORLD_SIZE", ranks.size()))
    shape, names = (ranks.size() // together, together), ("replicate", "shard")
    if plan.parallel == "sharded":
        shape, names = shape[1:], names[1:]
    return init_device_mesh(device.type, shape, mesh_dim_names=names)


def shard(objective: Objective, mesh: Mesh) -> None:
    """Shard the objective in place. Names of weights do not change. Raises ValueError where they cannot be sharded."""
    from torch.distributed.fsdp import fully_shard

    _check(objective)
    ranks.broadcast(objective.state_dict().values())
    for weight in objective.parameters():
        weight.data = weight.data.contiguous()  # those of convolutions may lie otherwise
    for network in networks(objective):
        for block in blocks(network):
            if not isinstance(block, TwoStreams):  # whose parts are called, by documents, and not the whole
                fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def _check(objective: Objective) -> None:
    """Raise ValueError where weights cannot be sharded."""
    if objective.rounds > 1:
        raise ValueError(
            f"weights are sharded in one round; this objective has {objective.rounds}, as reflow and stages have. Give "
            "parallel='replicated', or an objective of one."
        )
    names: dict[int, str] = {}
    for name, weight in objective.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(weight), name)
        if first != name:
            raise ValueError(f"{first} and {name} are one weight, which cannot be sharded. Give parallel='replicated'.")
        if weight.dim() == 0:
            raise ValueError(f"{name} is one number, which cannot be sharded. Give parallel='replicated'.")


def copied(module: Module, mesh: Mesh | None = None) -> Module:
    """A deep copy, of whose weights this process holds its share where there is a mesh."""
    shares = {} if mesh is None else {id(p): _share(p, mesh) for p in module.parameters()}
    return copy.deepcopy(module, shares)


def _share(weight: nn.Parameter, mesh: Mesh) -> nn.Parameter:
    """A process's share of a weight, as FSDP2 divides it: along the first axis, over the last axis of the mesh."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    placements = [Replicate()] * (mesh.ndim - 1) + [Shard(0)]
    return nn.Parameter(distribute_tensor(weight.detach(), mesh, placements), weight.requires_grad)


def whole(module: Module) -> Module:
    """The module itself, or a copy with all of the weights where processes hold shares. Every process takes part."""
    weights = {id(p): nn.Parameter(full(p), p.requires_grad) for p in module.parameters() if is_share(p)}
    return copy.deepcopy(module, weights) if weights else module


def full(tensor: Tensor) -> Tensor:
    """All of a tensor of which processes hold shares; other tensors as they are. Every process takes part."""
    return tensor.full_tensor().detach() if is_share(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def local(tensor: Tensor) -> Tensor:
    """This process's share of a tensor, in the same memory; other tensors as they are."""
    return tensor.to_local() if is_share(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def is_share(tensor: Tensor) -> bool:
    """Whether it is a DTensor, whose class is slow to import."""
    return hasattr(tensor, "full_tensor")

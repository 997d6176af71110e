"""When a kernel may compute in place of tensor operations.

A kernel is one opaque call: tools that record or transform tensor operations cannot see inside. So kernels serve only
plain tensors on a CPU, where nothing is recorded, and only where there is enough work.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.recording import recorded

# The least work that each kernel serves: elements for moves, words of random numbers, multiplications for networks. For
# less, tensor operations are as fast, or the compiler takes longer than is won.
LEAST: dict[str, float] = {
    "affine": 64,
    "affine, unbounded": 2**10,
    "affine, unbounded, gradients": 2**13,
    "spline": 64,
    "philox": 64,
    "perceptron": 2**20,
    "masked": 2**22,
    "transformer": 2**24,
}

KINDS = frozenset({Tensor, nn.Parameter})


def are_plain(*tensors: Tensor, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)) -> bool:
    """Whether all are dense tensors on a CPU, of no subclass, and of the same dtype, one of `dtypes`."""
    dtype = tensors[0].dtype
    if dtype not in dtypes:
        return False
    for t in tensors:
        if type(t) not in KINDS or t.dtype is not dtype or not t.is_cpu or t.layout is not torch.strided or t.is_neg():
            return False
    return True


def records_gradients(*tensors: Tensor | None) -> bool:
    """Whether autograd would record an operation on these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def may_pull(*tensors: Tensor) -> bool:
    """Whether a kernel may compute gradients from these: not where the backward pass is differentiated or recorded, nor
    where one of them stands for many, as in torch.autograd.grad(…, is_grads_batched=True)."""
    if torch.is_grad_enabled() or recorded() or not are_plain(*tensors):
        return False
    return not any(torch._C._functorch.is_legacy_batchedtensor(t) for t in tensors)  # pyright: ignore[reportAttributeAccessIssue]


def gradients_by(tensors: Callable[..., Any], inputs: Sequence[Tensor | None], gradients: Sequence[Tensor]) -> list:
    """Gradients of the inputs, None where none is needed, by the tensor operations that compute what a kernel does.

    In a backward pass that is differentiated again, so are these.
    """
    twice = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = [t if t is None or twice else t.detach().requires_grad_(t.requires_grad) for t in inputs]
        wanted = [t for t in leaves if t is not None and t.requires_grad]
        found = iter(torch.autograd.grad(tensors(*leaves), wanted, gradients, create_graph=twice))
    return [next(found) if t is not None and t.requires_grad else None for t in leaves]


def autocasts() -> bool:
    """Whether autocast is on for CPUs: kernels of networks but the transformer's compute in the weights' own dtype."""
    return torch.is_autocast_enabled("cpu")

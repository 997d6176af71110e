"""Scaled dot-product attention that can be differentiated in every way, and as often as one likes."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pushforward.recording import differentiated, written


def heads_for(width: int, features: int = 64) -> int:
    """How many attention heads of so many features share a width: one where they do not divide it."""
    return 1 if width % features else width // features


def check_heads(width: int, heads: int) -> None:
    """Raise ValueError where heads cannot share the width equally."""
    if width % heads:
        raise ValueError(f"{heads} attention heads share the width equally, and {width} is no multiple of {heads}.")


def attended(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """torch's attention of queries, keys and values (B, H, T, D), with its options. Where operations are differentiated
    in forward mode or by torch.func its plain formula serves: its fused kernels have no such derivatives. The gradients
    of gradients are those of the plain formula, too."""
    plain = differentiated()
    with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
        seen = F.scaled_dot_product_attention(q, k, v, **options)
    if plain or written() or not seen.requires_grad:
        return seen
    return _TwiceDifferentiable.apply(seen, q, k, v, options)  # pyright: ignore[reportReturnType]


class _TwiceDifferentiable(torch.autograd.Function):
    """What was `seen`. Where the backward pass is recorded it takes gradients by the plain formula, and elsewhere by
    torch's kernel."""

    @staticmethod
    def forward(ctx: Any, seen: Tensor, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        ctx.options = options
        ctx.save_for_backward(q, k, v)
        return seen

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if not torch.is_grad_enabled():
            return grad, None, None, None, None
        given = (t.to(grad.dtype) for t in ctx.saved_tensors)  # autocast had cast them
        found = torch.func.vjp(partial(attended, **ctx.options), *given)[1](grad)
        return None, *found, None

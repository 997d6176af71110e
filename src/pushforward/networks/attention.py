"""Scaled dot-product attention that can be differentiated in every way."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pushforward.recording import differentiated


def check_heads(width: int, heads: int) -> None:
    """Raise ValueError where heads cannot share the width equally."""
    if width % heads:
        raise ValueError(f"{heads} attention heads share the width equally, and {width} is no multiple of {heads}.")


def attended(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """torch's attention of queries, keys and values (B, H, T, D), with its options. Where operations are differentiated
    in forward mode or by torch.func its plain formula serves: its fused kernels have no such derivatives."""
    with sdpa_kernel(SDPBackend.MATH) if differentiated() else nullcontext():
        return F.scaled_dot_product_attention(q, k, v, **options)

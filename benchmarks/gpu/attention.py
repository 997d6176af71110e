"""Attention: of one token to a half-filled memory, which a step of decoding spends most on; and of all tokens, causal,
forward and back, as in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.part import Machine, Part, milliseconds
from benchmarks.gpu.rates import mbu, mfu
from pushforward.capture import Captured

HEADS, SIZE, CALLS = 12, 64, 20


def attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *, backend: SDPBackend | None = None) -> Tensor:
    if backend is None:
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)


def by_products(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    weights = (q @ keys.transpose(-1, -2)).float().mul(SIZE**-0.5) + mask
    return weights.softmax(-1).to(q.dtype) @ values


def of_used_keys(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Flash attention to as many keys as the device says, of each row; keys are (B, T, H, …) in memory."""
    rows, length = len(q), keys.shape[2]
    q, keys, values = (t.transpose(1, 2).flatten(0, 1) for t in (q, keys, values))
    starts = torch.arange(rows + 1, dtype=torch.int32, device=q.device)
    used = mask[:1].isfinite().sum(-1).to(torch.int32).expand(rows).contiguous()
    found = torch.ops.aten._flash_attention_forward(
        q, keys, values, starts, starts * length, 1, length, 0.0, False, False, seqused_k=used
    )
    return found[0].unflatten(0, (rows, 1)).transpose(1, 2)


def every(way: Callable[..., Tensor], q: Tensor, memory: Tensor, mask: Tensor) -> list[Tensor]:
    return [way(q, *pair, mask) for pair in memory]


WAYS: dict[str, Callable[..., Tensor]] = {
    "chosen by torch, masked": attend,
    "memory-efficient, masked": lambda *each: attend(*each, backend=SDPBackend.EFFICIENT_ATTENTION),
    "cuDNN, masked": lambda *each: attend(*each, backend=SDPBackend.CUDNN_ATTENTION),
    "two products": by_products,
    "flash, keys used": of_used_keys,
}


@torch.no_grad()
def rows(machine: Machine, seconds: float) -> Iterator[str]:
    """`CALLS` calls in one graph, each on its own keys and values, more than fit a cache at 64 rows."""
    length = 128 if machine.small else 1024
    used = length // 2
    for batch in (1, 64):
        shape = CALLS, 2, batch, length, HEADS, SIZE
        memory = torch.randn(shape, device=machine.device, dtype=torch.bfloat16).transpose(3, 4)
        q = torch.randn(batch, HEADS, 1, SIZE, device=machine.device, dtype=torch.bfloat16)
        mask = torch.zeros(1, length, device=machine.device, dtype=torch.bfloat16)
        mask[:, used:] = -torch.inf
        exact = F.scaled_dot_product_attention(q.float(), *memory[0, :, :, :, :used].float())
        for name, way in WAYS.items():
            for laid in ("token by token", "head by head"):
                if name == "flash, keys used" and laid == "head by head":
                    continue
                kept = memory if laid == "token by token" else memory.contiguous()
                try:
                    error = (way(q, *kept[0], mask).float() - exact).abs().max().item()
                    calls = Captured(partial(every, way, q, kept, mask), machine.device)
                    took = milliseconds(calls, machine.device, seconds / 30) / CALLS
                except (RuntimeError, TypeError) as refused:
                    yield f"{batch} | {name} | {laid} | – | – | {str(refused).splitlines()[0][:80]}"
                    continue
                read = mbu(memory[0].numel() * 2 / length * used, took, machine)
                yield f"{batch} | {name} | {laid} | {1e3 * took:.1f} | {read} | {error:.0e}"


TRAINED = {
    "chosen by torch": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def training(machine: Machine, seconds: float) -> Iterator[str]:
    """32 rows forward and back: 1,023 tokens, as a TarFlow of 1,024 reads, and 1,024, if padding paid."""
    rows, sizes = (2, (63, 64)) if machine.small else (32, (1023, 1024))
    for dtype in (torch.bfloat16, torch.float32):
        for tokens in sizes:
            made = torch.randn(3, rows, tokens, HEADS, SIZE, device=machine.device, dtype=dtype).transpose(2, 3)
            leaf = made.requires_grad_()

            def task(backend: SDPBackend | None, leaf: Tensor = leaf) -> None:
                with sdpa_kernel(backend) if backend is not None else nullcontext():
                    F.scaled_dot_product_attention(*leaf, is_causal=True).sum().backward()
                leaf.grad = None

            for name, backend in TRAINED.items():
                try:
                    took = milliseconds(partial(task, backend), machine.device, seconds / 20)
                except RuntimeError as refused:
                    yield f"{dtype} | {tokens} | {name} | – | {str(refused).splitlines()[0][:80]}"
                    continue
                operations = Counter({dtype: 7 * rows * HEADS * tokens**2 * SIZE})
                yield f"{dtype} | {tokens} | {name} | {took:.3f} | {mfu(operations, took, machine)}"


PARTS = {
    "training_attention": Part(
        "Causal attention forward and back, 32 rows, 12 heads of 64",
        "dtype | tokens | kernel | ms | matrix products",
        15,
        training,
    ),
    "attention": Part(
        "One token's attention to 512 keys of 1,024, bf16, 12 heads of 64",
        "batch | way | memory | µs | MBU | largest error",
        20,
        rows,
    ),
}

"""Random numbers that depend on nothing but their keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

Source = Generator | Sequence[Generator] | None  # of random numbers: torch's own, a generator, or one a row


def draw(sampler: Callable[..., Tensor], shape: tuple[int, ...], like: Tensor, source: Source) -> Tensor:
    """Random numbers from torch.rand or torch.randn, of like's device, and its dtype or float32 if that is narrower.

    They are drawn where the generator lives: a CPU generator gives the same numbers to every device. With a generator a
    row, a row's numbers do not depend on which others are drawn beside it.
    """
    if isinstance(source, Sequence):
        return torch.stack([draw(sampler, shape[1:], like, row) for row in source])
    dtype = torch.promote_types(like.dtype, torch.float32)
    device = like.device if source is None else source.device
    return sampler(shape, generator=source, dtype=dtype, device=device).to(like.device)


def keyed(*keys: int) -> Generator:
    """A CPU generator for these keys (a seed, a step, …): the same keys, the same numbers; other keys, others."""
    state = 0
    for key in keys:
        state = (state * 6364136223846793005 + key + 1442695040888963407) % 2**63  # Knuth's multiplier and increment
    return Generator().manual_seed(state)

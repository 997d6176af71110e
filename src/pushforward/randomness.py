"""Random numbers that depend on their keys alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Generator, Tensor

Source = Generator | Sequence[Generator] | None  # a generator, one for each row, or torch's default one


def draw(sampler: Callable[..., Tensor], shape: tuple[int, ...], like: Tensor, source: Source) -> Tensor:
    """Random numbers from torch.rand or torch.randn, on like's device, of its dtype or float32 if that is narrower.

    They are drawn on the generator's device: a CPU generator gives the same numbers on every device. With one generator
    for each row, a row's numbers do not depend on the other rows.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    if isinstance(source, Sequence):
        if len(source) != shape[0]:
            raise ValueError(f"give one generator for each of {shape[0]} rows, or one for all; got {len(source)}.")
        rows = [sampler(shape[1:], generator=row, dtype=dtype, device=row.device) for row in source]
        return torch.stack(rows).to(like.device)
    device = like.device if source is None else source.device
    return sampler(shape, generator=source, dtype=dtype, device=device).to(like.device)


def keyed(*keys: int) -> Generator:
    """A CPU generator for these keys (a seed, a step, a row): the same keys, the same numbers.

    torch seeds it from 32 bits: two sets of keys share their numbers with a chance of 2⁻³².
    """
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=4).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little"))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """In this block torch's default CPU generator starts from this seed, and tensors are made on the CPU.

    Afterwards the generator has its earlier state. `torch.manual_seed` would also reseed the generators of all other
    devices.
    """
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.default_generator.set_state(before)


class Keyed(Sequence[Generator]):
    """The generators `keyed(*keys, row)` of these rows, made when the first is used.

    A slice has new generators, in their initial state.
    """

    def __init__(self, *keys: int, rows: Sequence[int]):
        self.keys, self.rows = keys, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place):  # pyright: ignore[reportIncompatibleMethodOverride]
        return Keyed(*self.keys, rows=self.rows[place]) if isinstance(place, slice) else self._made[place]

    @cached_property
    def _made(self) -> list[Generator]:
        return [keyed(*self.keys, row) for row in self.rows]

"""Random numbers that depend on their keys alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from pushforward.kernels import philox
from pushforward.shapes import at_least_float32

Method = TypeVar("Method", bound=Callable)


class Keyed:
    """Random numbers of rows: a function of the keys, the row, the draw and the element.

    Draw 0 is the first after construction, draw 1 the next, so a `Keyed` is used up like a generator; a slice starts
    again at draw 0. A row's numbers do not depend on the other rows. They are made where they are used, by
    Philox4x32-10 (`kernels.philox`) under a key of 64 bits hashed from `keys`: uniform ones are the same on every
    device, bit for bit, normal ones to rounding.

    >>> both, second = Keyed(7, rows=[3, 4]), Keyed(7, rows=[4])
    >>> like = torch.empty(())
    >>> torch.equal(draw(torch.rand, (2, 5), like, both)[1:], draw(torch.rand, (1, 5), like, second))
    True
    """

    def __init__(self, *keys: int, rows: Sequence[int] | Tensor):
        self.key = key(*keys)
        self.rows = (
            torch.arange(rows.start, rows.stop, rows.step, device="cpu")
            if isinstance(rows, range)
            else torch.as_tensor(rows, dtype=torch.int64)
        )
        self.draws = 0  # made so far

    @classmethod
    def of(cls, key: Tensor, rows: Tensor) -> Keyed:
        """With a `key` (2,) that is a tensor, and rows (n,), both int64 and on the device of the draws."""
        made = cls.__new__(cls)
        made.key, made.rows, made.draws = key, rows, 0
        return made

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Keyed:
        return Keyed.of(self.key, self.rows[part])

    def numbers(self, sampler: Callable[..., Tensor], count: int, like: Tensor, dtype: torch.dtype) -> Tensor:
        """The next draw: (rows, count) numbers as from torch.rand or torch.randn, on like's device."""
        device = like.device if like.device.type in ("cpu", "cuda") else torch.device("cpu")  # others lack float64
        if self.rows.device != device:
            self.key, self.rows = self.key.to(device), self.rows.to(device)
        made = _SAMPLED[sampler](self.key, self.rows, self.draws, count, dtype)
        self.draws += 1
        return made.to(like.device)


Source = Generator | Keyed | None  # one generator for all rows, keys of the rows, or torch's default generator


def draw(sampler: Callable[..., Tensor], shape: tuple[int, ...], like: Tensor, source: Source) -> Tensor:
    """Random numbers from torch.rand or torch.randn, on like's device, of its dtype or float32 if that is narrower.

    A generator draws on its own device: a CPU generator gives the same numbers on every device. With a `Keyed` source
    of shape[0] rows, a row's numbers do not depend on the other rows.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    if isinstance(source, Keyed):
        if len(source) != shape[0]:
            raise ValueError(f"the random numbers are of {shape[0]} rows; the source has the keys of {len(source)}.")
        return source.numbers(sampler, math.prod(shape[1:]), like, dtype).reshape(shape)
    if not (source is None or isinstance(source, Generator)):
        meant = f"torch.Generator().manual_seed({source})" if isinstance(source, int) else "a torch.Generator"
        raise TypeError(f"random numbers are drawn by generator={meant}; got {type(source).__name__}.")
    device = like.device if source is None else source.device
    return sampler(shape, generator=source, dtype=dtype, device=device).to(like.device)


def normal(deviation: float, *shape: int) -> Tensor:
    """Draws of N(0, deviation²) by torch's default generator, of the default dtype and device: how weights start.

    Nothing is drawn on the meta device: there torch imports its compiler, 72 MB in 1.3 s, for random numbers and for
    all arithmetic that makes new tensors.
    """
    drawn = torch.empty(shape)
    return drawn if drawn.is_meta else drawn.normal_(std=deviation)


def hashed(x: Tensor) -> Tensor:
    """A number for each row (batch, …) that is a function of its values, bit for bit: (batch,) int64, not negative.
    As the rows of a `Keyed` they give a row random numbers that do not depend on its batch."""
    x = at_least_float32(x.detach())
    bits = x.flatten(1).view(torch.int64 if x.dtype == torch.float64 else torch.int32).long()
    words = (bits ^ torch.arange(1, bits.shape[1] + 1, device=x.device) * -0x61C8864680B583EB) * -0x40A7B892E31B1A47
    return ((words ^ (words >> 31)) * -0x6B2FB644ECCEEE15).sum(1) & (2**63 - 1)


def key(*keys: int) -> Tensor:
    """A key of two words for these keys, (2,) int64: two sets of keys share it with a chance of 2⁻⁶⁴."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return torch.tensor([int.from_bytes(digest[i : i + 4], "little") for i in (0, 4)], device="cpu")


def keyed(*keys: int) -> Generator:
    """A CPU generator for these keys (a seed, a step, a row): the same keys, the same numbers.

    torch seeds it from 32 bits: two sets of keys share their numbers with a chance of 2⁻³².
    """
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=4).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little"))


def drawing(method: Method) -> Method:
    """A method that takes `generator=`: it answers `seed=`, which users look for, with what to give instead."""

    @wraps(method)
    def checked(*args: Any, **options: Any) -> Any:
        if "seed" in options:
            seed = options["seed"]
            raise TypeError(
                f"{method.__name__} takes no seed=. Give generator=torch.Generator().manual_seed({seed}): draws are "
                "then the same on every device."
            )
        return method(*args, **options)

    return checked  # pyright: ignore[reportReturnType]


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


_SAMPLED = {torch.rand: philox.uniform, torch.randn: philox.normal}

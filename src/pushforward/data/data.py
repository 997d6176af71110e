"""The interface of all data sets: events by index, each with its context."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.arrays import as_tensor, check_number
from pushforward.randomness import keyed
from pushforward.shapes import Events

HELD_OUT = 5_000  # events at most: the standard error of their mean is then about a hundredth of a nat

Rows = Tensor | Sequence[int]  # indices 0 … n − 1, in any order, repeats allowed
Conditions = Tensor | Mapping[str, Tensor] | None  # a row an event: of one condition, or of several by name


class Data(ABC):
    """Events by index, each with its context."""

    weights: Tensor | None = None  # (n,), of mean 1; None: all equal

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def fetch(self, rows: Rows) -> tuple[Events, Any]:
        """The events (n, *event) of these rows, and their context: labels (n,), vectors (n, features), a dict of such
        by the names of the flow's conditions, or None."""

    def fingerprint(self) -> str:
        """The SHA-256 of the data, by which a run knows them again: of all rows, or of 1,000 and their number where
        reading all takes long."""
        weights = [] if self.weights is None else [self.weights]
        return digest([str(len(self)), *self.fetch(fingerprinted(len(self))), *weights])

    def part(self, rows: Rows) -> Data:
        """These rows, their weights scaled to mean 1 again."""
        return Part(self, rows)

    def split(self, share: float, *, seed: int = 0) -> tuple[Any, Any]:
        """Split the rows into two `part`s: training rows and held-out rows, this share of all, and 5,000 at most.

        The split is a function of the seed. Held-out rows are None where the share is 0.
        """
        n = len(self)
        check_number(share, "the share of the events to hold out", least=0, below=1)
        some = min(HELD_OUT, max(1, round(share * n))) if share else 0
        if n <= some:
            raise ValueError(f"there are {n} events, of which {some} would be held out. Give more, or hold out none.")
        order = torch.randperm(n, generator=keyed(seed), device="cpu")
        return self.part(order[some:]), self.part(order[:some]) if some else None


class Part(Data):
    """Some rows of other data, which are fetched from these."""

    def __init__(self, data: Data, rows: Rows):
        self.data, self.rows = data, row_numbers(rows, len(data))
        if data.weights is not None:
            self.weights = _of_mean_1(data.weights[self.rows], len(self.rows)).to(data.weights.dtype)

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, rows: Rows) -> tuple[Events, Any]:
        return self.data.fetch(self.rows[row_numbers(rows, len(self))])


def some_of(data: Data) -> Data:
    """5,000 rows of data at most, evenly spread: what is held out of a set that may be larger than memory."""
    return data if len(data) <= HELD_OUT else data.part(evenly_spread(len(data), HELD_OUT))


class Arrays(Data):
    """Events in memory, of any shape, and their context: tensors or numpy arrays, one row an event, or a dict of such.

    `weights` (n,), none negative, multiply each event's part of a loss or score; they are scaled to mean 1. Raises
    ValueError where values are not finite.

    >>> Arrays(torch.rand(5, 2), context=torch.arange(5)).fetch([3, 0, 3])[1]
    tensor([3, 0, 3])
    """

    def __init__(
        self,
        events: Tensor | np.ndarray,
        context: Tensor | np.ndarray | Mapping[str, Tensor | np.ndarray] | None = None,
        weights: Tensor | np.ndarray | None = None,
    ):
        self.events, self.context = as_tensor(events, "the array of events"), as_conditions(context)
        if self.events.dim() < 2 or not len(self.events):
            raise ValueError(
                f"events have shape (n, *event), with n at least 1; these have {tuple(self.events.shape)}."
                f"{' Give those of one feature as x[:, None].' if self.events.dim() == 1 else ''}"
            )
        for name, values in named(self.context):
            if values.shape[:1] != self.events.shape[:1]:
                raise ValueError(
                    f"give one row of {name} for each of {len(self.events)} events; it is {tuple(values.shape)}."
                )
        for name, values in [("events", self.events), *named(self.context)]:
            if not values.isfinite().all():
                rows = (~values.reshape(len(values), -1).isfinite().all(1)).nonzero().flatten().tolist()
                raise ValueError(
                    f"{listed(rows)} of the {name} {'hold' if len(rows) > 1 else 'holds'} values that are not finite. "
                    "Drop or repair such rows."
                )
        if weights is not None:
            found = _of_mean_1(as_tensor(weights, "the array of weights"), len(self.events))
            self.weights = found.to(torch.promote_types(self.events.dtype, torch.float32))

    def __len__(self) -> int:
        return len(self.events)

    def fetch(self, rows: Rows) -> tuple[Events, Any]:
        rows = row_numbers(rows, len(self))
        return self.events[rows], context_of(self.context, rows)

    def fingerprint(self) -> str:
        context = [part for pair in named(self.context) for part in pair]
        return digest([self.events, *(context if isinstance(self.context, Mapping) else [self.context]), self.weights])

    def part(self, rows: Rows) -> Arrays:
        rows = row_numbers(rows, len(self))
        return Arrays(*self.fetch(rows), None if self.weights is None else self.weights[rows])

    def counted(self) -> Arrays:
        """The rows whose weight is not zero."""
        return self if self.weights is None else self.part(self.weights.nonzero().flatten())


def as_conditions(context: Any) -> Any:
    """The `Conditions` in tensors or arrays: of one condition, of a dict of several, or None."""
    if isinstance(context, Mapping):
        return {name: as_tensor(values, f"the condition {name!r}") for name, values in context.items()}
    return None if context is None else as_tensor(context, "the context")


def check_several(words: object, name: str) -> None:
    """Raise ValueError for one string where several are expected: its letters would be taken for them."""
    if isinstance(words, str):
        raise ValueError(f"{name} are several strings, such as ({words!r},); got {words!r} alone.")


def named(context: Conditions) -> list[tuple[str, Tensor]]:
    """The conditions of a context by name; a single one is named "context"."""
    if isinstance(context, Mapping):
        return sorted(context.items())
    return [] if context is None else [("context", context)]


def context_of(context: Conditions, rows: Tensor | slice) -> Conditions:
    """The context of these rows."""
    if isinstance(context, Mapping):
        return {name: values[rows] for name, values in context.items()}
    return None if context is None else context[rows]


def located(rows: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """In which of several parts each row is, and where in it; part i ends before row ends[i].

    >>> located(torch.tensor([0, 2, 3]), torch.tensor([3, 4]))
    (tensor([0, 0, 1]), tensor([0, 2, 0]))
    """
    parts = torch.searchsorted(ends, rows, right=True)
    return parts, rows - torch.cat([ends.new_zeros(1), ends])[parts]


def evenly_spread(n: int, most: int) -> range:
    """Rows of n, evenly spread: all where there are at most `most`, otherwise at most so many and more than half."""
    return range(0, n, max(1, -(-n // most)))


def fingerprinted(n: int) -> range:
    """The rows of n, evenly spread, that a fingerprint is of: all below 2,000, otherwise 1,000 or up to twice as many.
    Others would be other fingerprints of the data of older runs."""
    return range(0, n, max(1, n // 1000))


def digest(parts: Iterable[object]) -> str:
    """The SHA-256 of tensors, dicts of them, bytes, and what prints."""
    found = hashlib.sha256()
    for part in parts:
        for each in (each for pair in named(part) for each in pair) if isinstance(part, Mapping) else (part,):
            _update(found, each)
    return found.hexdigest()


def _update(found: Any, part: object) -> None:
    if isinstance(part, Tensor):
        found.update(f"{tuple(part.shape)} {part.dtype}".encode())
        part = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    found.update(part if isinstance(part, bytes | memoryview) else repr(part).encode())


def _of_mean_1(weights: Tensor, events: int) -> Tensor:
    """Weights (n,) scaled to mean 1, float64. Raises ValueError unless there is one a row, all finite, none negative,
    some above zero."""
    weights = weights.double().cpu()
    if weights.shape != (events,):
        raise ValueError(f"give one weight for each of {events} events; they are of shape {tuple(weights.shape)}.")
    wrong = (~((weights >= 0) & weights.isfinite())).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"weights are finite and not negative; {listed(wrong)} of them are not, the first is {weights[wrong[0]]:g}."
            " With negative weights the likelihood may have no maximum: merge or reweight such events first."
        )
    if not weights.any():
        raise ValueError("all weights are zero: there is nothing to learn.")
    weights = weights / weights.amax()  # whose sum is finite, at any size
    return weights / weights.mean()


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Put the name of the source before the message of a ValueError, where it is not there."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{source}: "):
            raise
        raise ValueError(f"{source}: {error}") from error


def listed(rows: list[int]) -> str:
    """Row indices as words for an error: the first five of them.

    >>> listed([3]), listed([0, 4]), listed(list(range(100)))
    ('row 3', 'rows 0, 4', 'rows 0, 1, 2, 3, 4 and 95 others')
    """
    others = f" and {len(rows) - 5} others" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:5]))}{others}"


def row_numbers(rows: Rows, n: int) -> Tensor:
    """The row indices as int64. Raises ValueError for anything but integers, as a mask would be read as rows 0 and 1,
    and IndexError for rows that are not among the n."""
    numbers = torch.as_tensor(rows, device="cpu")
    if len(numbers) and (numbers.is_floating_point() or numbers.dtype == torch.bool):
        raise ValueError(f"rows are integer indices; these are {numbers.dtype}.")
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < n:
        raise IndexError(f"rows are 0 … {n - 1}; these go from {numbers.min()} to {numbers.max()}.")
    return numbers.long()

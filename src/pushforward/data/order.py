"""The order of rows in training: a function of (seed, epoch, position).

Positions 0, 1, 2, … never end. Position p of a set of n rows is in epoch p // n, and every epoch is a permutation of
the rows, keyed by (seed, epoch). Batch b of B events is positions b B … (b + 1) B − 1. A batch may contain the last
rows of one epoch and the first of the next, so every batch is full. The rows of a step depend on nothing else: not on
interruptions of a run, nor on how many processes share a batch.
"""

import torch
from torch import Tensor

from pushforward.randomness import keyed


class Order:
    """The endless order of n rows by a seed: `order[start:stop]` are the rows at those positions.

    Caches the permutation of one epoch, four bytes a row.

    >>> order = Order(5, seed=1)
    >>> sorted(order[5:10].tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, *, seed: int = 0):
        if n < 1:
            raise ValueError(f"an order is of at least one row; got n={n}.")
        self.n, self.seed = n, seed
        self._epoch, self._permutation = -1, torch.empty(0)

    def __getitem__(self, positions: slice) -> Tensor:
        start, stop = positions.start, positions.stop
        if not (isinstance(start, int) and isinstance(stop, int) and 0 <= start <= stop and positions.step is None):
            raise ValueError(f"index an order as order[start:stop] with 0 ≤ start ≤ stop; got {positions}.")
        rows = []
        while start < stop:
            epoch, first = divmod(start, self.n)
            piece = self._epoch_order(epoch)[first : first + stop - start]
            rows.append(piece)
            start += len(piece)
        return torch.cat(rows).long() if rows else torch.empty(0, dtype=torch.long, device="cpu")

    def _epoch_order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            narrow = torch.int32 if self.n < 2**31 else torch.int64
            self._permutation = torch.randperm(self.n, generator=keyed(self.seed, epoch), dtype=narrow, device="cpu")
            self._epoch = epoch
        return self._permutation

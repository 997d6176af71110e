"""The order in which training goes through a set: a function of (seed, epoch, position).

Positions 0, 1, 2, … never end. Position p of a set of n rows lies in epoch p // n, and every epoch is a permutation of
the rows, keyed by (seed, epoch). Batch b of B events is positions b B … (b + 1) B − 1; an epoch's last rows go into one
batch with the first of the next, so that every batch is full. Nothing else decides what a step sees: not where a run
was interrupted, nor how many processes share a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.randomness import keyed


class Order:
    """The endless order of n rows that a seed gives: `order[start:stop]` are the rows at those positions.

    Keeps the last epoch asked for, four bytes a row.

    >>> order = Order(5, seed=1)
    >>> sorted(order[5:10].tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, *, seed: int = 0):
        if n < 1:
            raise ValueError("the set is empty: there is nothing to put in order.")
        self.n, self.seed = n, seed
        self._epoch, self._permutation = -1, torch.empty(0)

    def __getitem__(self, positions: slice) -> Tensor:
        start, stop = positions.start, positions.stop
        if not (isinstance(start, int) and isinstance(stop, int) and 0 <= start <= stop and positions.step is None):
            raise ValueError(f"ask for order[start:stop] with 0 ≤ start ≤ stop; got {positions}.")
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

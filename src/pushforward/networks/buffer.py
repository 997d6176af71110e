"""A tensor that grows."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.recording import recorded


class Buffer:
    """A tensor that grows along one axis. Decoders keep the tokens that they have read in buffers.

    Without gradients new values are written into preallocated memory, of size `room` at first; it is doubled whenever
    it is full. With gradients values are concatenated, so that gradients can flow through them; and where
    operations are recorded, since exporters lose writes into parts of a tensor.
    """

    def __init__(self, axis: int, room: int = 16):
        self.axis, self.room = axis, room
        self.data: Tensor | None = None
        self.owned = False  # whether `data` is preallocated memory, which may be overwritten

    def extend(self, new: Tensor, start: int) -> Tensor:
        """Write `new` at `start`, in place of older values; return all values up to its end."""
        size = new.shape[self.axis]
        if torch.is_grad_enabled() or recorded():
            before = [] if self.data is None else [self.data.narrow(self.axis, 0, start)]
            self.data, self.owned = torch.cat([*before, new], self.axis), False
            return self.data
        if self.data is None or not self.owned or self.data.shape[self.axis] < start + size:
            self.data, self.owned = self._grown(new, start), True
        self.data.narrow(self.axis, start, size).copy_(new)
        return self.data.narrow(self.axis, 0, start + size)

    def _grown(self, new: Tensor, start: int) -> Tensor:
        """Larger memory, with the values before `start` and room for `new`."""
        while self.room < start + new.shape[self.axis]:
            self.room *= 2
        shape = list(new.shape)
        shape[self.axis] = self.room
        grown = new.new_empty(shape)
        if self.data is not None:
            grown.narrow(self.axis, 0, start).copy_(self.data.narrow(self.axis, 0, start))
        return grown

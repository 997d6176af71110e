"""A tensor that grows."""

from __future__ import annotations

import torch
from torch import Tensor


class Buffer:
    """A tensor that grows along one axis: what a decoder remembers.

    Without gradients new values are written into memory made in advance, `room` of it at first and twice as much
    whenever it is full. With gradients values are concatenated, so that they flow.
    """

    def __init__(self, axis: int, room: int = 16):
        self.axis, self.room = axis, room
        self.data: Tensor | None = None
        self.owned = False  # whether data is memory that may be written to

    def extend(self, new: Tensor, start: int) -> Tensor:
        """Put `new` at `start`, over what was there; return everything up to its end."""
        size = new.shape[self.axis]
        if torch.is_grad_enabled():
            before = [] if self.data is None else [self.data.narrow(self.axis, 0, start)]
            self.data, self.owned = torch.cat([*before, new], self.axis), False
            return self.data
        if self.data is None or not self.owned or self.data.shape[self.axis] < start + size:
            self.data, self.owned = self._grown(new, start), True
        self.data.narrow(self.axis, start, size).copy_(new)
        return self.data.narrow(self.axis, 0, start + size)

    def _grown(self, new: Tensor, start: int) -> Tensor:
        """Memory with room for `new` at `start`, and what was before it."""
        while self.room < start + new.shape[self.axis]:
            self.room *= 2
        shape = list(new.shape)
        shape[self.axis] = self.room
        grown = new.new_empty(shape)
        if self.data is not None:
            grown.narrow(self.axis, 0, start).copy_(self.data.narrow(self.axis, 0, start))
        return grown

"""What a causal network remembers of the tokens it was fed, so that each token is read once.

The cache is an argument, made by the network and never stored on it: two samplers cannot meet in it, and nothing
has to be reset.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.kernels.transformer import TransformerDecoder


class Growing:
    """A tensor that grows along one axis. In place, in room made once, under no_grad; else by concatenation, so that
    gradients flow."""

    def __init__(self, axis: int, capacity: int):
        self.axis, self.capacity = axis, capacity
        self.data: Tensor | None = None

    def extend(self, new: Tensor, start: int) -> Tensor:
        """Write `new` at `start`, over whatever stood there; return everything up to its end."""
        if self.data is None:
            shape = [self.capacity if axis == self.axis else size for axis, size in enumerate(new.shape)]
            self.data = new if torch.is_grad_enabled() else new.new_empty(shape)
        if torch.is_grad_enabled() or self.data.shape[self.axis] < self.capacity:
            self.data = torch.cat([self.data.narrow(self.axis, 0, start), new], self.axis)
        else:
            self.data.narrow(self.axis, start, new.shape[self.axis]).copy_(new)
        return self.data.narrow(self.axis, 0, start + new.shape[self.axis])


class Cache:
    """Keys and values of the tokens fed so far, for each layer, and the answers given.

    `length` counts the tokens; truncate(n) forgets all but the first n. Fed two tokens and then one more:

        fed              x0 x1        x2
        they say of          x1 x2        x3
        answered         x0 x1 x2     x2 x3      (nothing is said of x0: its answer is zero)
    """

    def __init__(self, depth: int, capacity: int):
        self.length = 0
        self.keys = [Growing(axis=2, capacity=capacity) for _ in range(depth)]
        self.values = [Growing(axis=2, capacity=capacity) for _ in range(depth)]
        self.answers = Growing(axis=1, capacity=capacity + 1)
        self.added: Tensor | None = None  # what the context adds to every token
        self.kernel: TransformerDecoder | None = None  # remembers all this where the kernel decodes

    @property
    def unread(self) -> bool:
        """Whether nothing has been asked of it yet."""
        return self.answers.data is None and self.kernel is None

    def recall(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember a layer's new keys and values (B, H, n, W/H), and answer all so far."""
        return self.keys[layer].extend(keys, self.length), self.values[layer].extend(values, self.length)

    def answer(self, new: Tensor) -> Tensor:
        """Count the new tokens, and remember what each says of the next (B, n, …); answer (B, n + 1, …)."""
        start = self.length
        if start == 0:
            self.answers.extend(new.new_zeros(len(new), 1, *new.shape[2:]), 0)
        self.length = start + new.shape[1]
        return self.answers.extend(new, start + 1)[:, start:].clone()  # a copy: truncate may write over them

    def truncate(self, length: int) -> None:
        assert 0 <= length <= self.length, f"cannot truncate {self.length} tokens to {length}"
        self.length = length
        if self.kernel is not None:
            self.kernel.truncate(length)

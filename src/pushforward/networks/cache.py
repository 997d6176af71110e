"""What a causal network remembers of the tokens it was fed, so that each token is read once.

The cache is an argument, made by the network and never stored on it: two samplers cannot meet in it, and nothing
has to be reset.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Rows:
    """A tensor that grows along axis −2. In place, in room made once, under no_grad; else by concatenation, so that
    gradients flow."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.data: Tensor | None = None

    def extend(self, new: Tensor, start: int) -> Tensor:
        """Write `new` (…, n, feature) at `start`, over whatever stood there; return everything up to start + n."""
        n = new.shape[-2]
        if self.data is None:
            self.data = new if torch.is_grad_enabled() else new.new_empty(*new.shape[:-2], self.capacity, new.shape[-1])
        if torch.is_grad_enabled() or self.data.shape[-2] < self.capacity:
            self.data = torch.cat([self.data.narrow(-2, 0, start), new], dim=-2)
        else:
            self.data.narrow(-2, start, n).copy_(new)
        return self.data.narrow(-2, 0, start + n)


class Cache:
    """Keys and values of the tokens fed so far, for each layer, and the answers given.

    `length` counts the tokens; truncate(n) forgets all but the first n.
    """

    def __init__(self, depth: int, capacity: int):
        self.length = 0
        self.keys = [Rows(capacity) for _ in range(depth)]
        self.values = [Rows(capacity) for _ in range(depth)]
        self.answers = Rows(capacity + 1)

    def recall(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember a layer's new keys and values (B, H, n, W/H), and answer all so far."""
        return self.keys[layer].extend(keys, self.length), self.values[layer].extend(values, self.length)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= self.length, f"cannot truncate {self.length} tokens to {length}"
        self.length = length

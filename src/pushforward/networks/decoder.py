"""Decoders: the state of a causal network that reads a sequence token by token, each token once.

`net.start` makes a decoder for one call. It is never stored on a module: samplers do not share it, and nothing has to
be reset.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

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


class Decoder(ABC):
    """Reads tokens, and returns the raw parameters of the tokens that come after them.

        read        x0 x1        x2
        returned    a1 a2        a3        and a0 by `start`

    The last of a network's tokens is not read: nothing depends on it.
    """

    kind: str  # "kernel", a compiled one; "graph", by a recorded step; "tensors"; "whole", a `WholeDecoder`
    length: int  # how many tokens it has read
    answer: Tensor  # (B, 1, *raw), raw parameters of the next token; stale after `truncate` until the next `read`

    def __init__(self, answer: Tensor, tokens: int | None):
        """`answer` is that of the first token; `tokens` is the length of a sequence, None for any."""
        self.answer, self.tokens, self.length = answer, tokens, 0

    def read(self, x: Tensor) -> Tensor:
        """n ≥ 1 more tokens (B, n, …) -> raw parameters of the n tokens that come after each of them, (B, n, *raw).

        Raises ValueError where the sequence has fewer tokens.
        """
        length = self.length + x.shape[1]
        if self.tokens is not None and length >= self.tokens:
            raise ValueError(
                f"a decoder of {self.tokens} tokens reads all but the last; it was given tokens {self.length} to "
                f"{length - 1}, counted from 0."
            )
        answers = self._read(x)
        self.length, self.answer = length, answers[:, -1:]
        return answers

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        assert 0 <= length <= self.length, f"cannot truncate {self.length} tokens to {length}"
        self.length = length

    @abstractmethod
    def _read(self, x: Tensor) -> Tensor:
        """`read`, for tokens that come after the first `self.length`."""


class WholeDecoder(Decoder):
    """Calls the network on the whole sequence, through `()`, at every read.

    It works for every network: for those that define `forward` alone, and for those whose layers are hooked, wrapped
    or replaced.
    """

    kind = "whole"

    def __init__(self, network: Callable[[Tensor], Tensor], blank: Tensor, tokens: int | None):
        """`network` maps tokens to raw parameters, (B, T, …) -> (B, T, *raw); `blank` is the shortest sequence that it
        accepts, of zeros."""
        super().__init__(network(blank)[:, :1], tokens)
        self._network, self._least, self._seen = network, blank.shape[1], Buffer(1)

    def _read(self, x: Tensor) -> Tensor:
        seen = self._seen.extend(x, self.length)
        length = seen.shape[1]
        blank = seen.new_zeros(seen.shape[0], max(self._least - length, 1), *seen.shape[2:])
        return self._network(torch.cat([seen, blank], 1))[:, self.length + 1 : length + 1]


class KernelDecoder(Decoder):
    """A compiled decoder (`pushforward.kernels`), which returns all raw parameters of a token in one dimension."""

    kind = "kernel"

    def __init__(self, kernel: Any, raw: tuple[int, ...], blank: Tensor, tokens: int | None):
        """`blank` has no tokens: (B, 0, …)."""
        self._kernel, self._raw = kernel, raw
        super().__init__(kernel.read(blank).unflatten(-1, raw), tokens)

    def _read(self, x: Tensor) -> Tensor:
        answers = self._kernel.read(x)[:, 1:]
        return answers.view(*answers.shape[:2], *self._raw)

    def truncate(self, length: int) -> None:
        super().truncate(length)
        self._kernel.truncate(length)

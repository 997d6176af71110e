"""The contract of a network that an autoregressive transform asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.shapes import Tokens


class CausalNetwork(nn.Module, ABC):
    """Raw parameters for token t from the tokens before t.

    Without a cache, x is the whole sequence and so is the answer: (batch, token, *raw). With one, x is what came since
    the last call (nothing, the first time), and the answer covers every position fed and the next: see `Cache`.
    """

    tokens: int  # the longest sequence it reads
    attends: bool  # whether it has attention, whose temperature a context may set

    @abstractmethod
    def forward(self, x: Tokens, context: Context | None = None, cache: Any = None) -> Tensor: ...

    @abstractmethod
    def start(self, context: Context | None = None) -> Any:
        """A cache that has been fed what comes before the first token: nothing, or a prefix made of the context."""

"""The contract of the networks in autoregressive transforms."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.networks.decoder import Decoder, WholeDecoder
from pushforward.shapes import Tokens


class CausalNetwork(nn.Module, ABC):
    """Raw parameters for token t from the tokens before t.

    `forward` reads a whole sequence, `start` makes a `Decoder`, which reads it token by token. The decoder of a
    subclass that defines `forward` alone makes a pass over the whole sequence for each token.
    """

    tokens: int | None  # the longest sequence; None for any length
    token: tuple[int, ...]  # the shape of a token: (D,), or () for the elements of a vector
    conditional: bool = True  # whether the output depends on the context
    attends: bool = False  # whether forward and start take attention_temperature (rows,), a divisor of attention logits

    @abstractmethod
    def forward(self, x: Tokens, context: Context | None = None) -> Tensor:
        """(B, T, *token) -> (B, T, *raw)."""

    def check_length(self, x: Tokens) -> None:
        """Raise ValueError where a sequence is longer than the network's longest."""
        if self.tokens is not None and x.shape[1] > self.tokens:
            raise ValueError(f"this network reads {self.tokens} tokens at most; got {x.shape[1]}.")

    def start(self, rows: int, context: Context | None = None) -> Decoder:
        """A decoder of `rows` sequences under this context, before their first token.

        Here its kind is chosen: a compiled kernel decodes where no gradient is needed and the layers are plain.
        """
        return self.whole(rows, context)

    def whole(self, rows: int, context: Context | None = None, **options: Any) -> WholeDecoder:
        """A decoder that calls this network, with these options, at every read."""
        device = next((parameter.device for parameter in self.parameters()), None)
        blank = torch.zeros(rows, self.tokens or 1, *self.token, device=device)
        return WholeDecoder(partial(self, context=context, **options), blank, self.tokens)

"""A causal network that goes on after the tokens that one of its decoders has read."""

import torch
from torch import Tensor

from pushforward.conditions import Context
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.decoder import Decoder
from pushforward.shapes import Tokens


class Resumed(CausalNetwork):
    """`net` after the tokens that `decoder` has read, whose raw parameters for the next token are `answer`. The last of
    those tokens are `before`, (batch, n, …), or it is None.

    Solvers decode with it: what they read stays in `decoder`. All its decoders are views of that one, so one is used at
    a time. It does not score.
    """

    def __init__(self, net: CausalNetwork, decoder: Decoder, answer: Tensor, before: Tokens | None = None):
        super().__init__()
        self.token, self.conditional, self.before = net.token, net.conditional, before
        self.tokens = None if decoder.tokens is None else decoder.tokens - decoder.length
        self._decoder, self._answer = decoder, answer

    def forward(self, x: Tokens, context: Context | None = None) -> Tensor:
        """Those of the tokens x, in one pass of the decoder."""
        decoder = self.start(len(x))
        return torch.cat([decoder.answer, decoder.read(x[:, :-1])], 1) if x.shape[1] > 1 else decoder.answer

    def start(self, rows: int, context: Context | None = None) -> Decoder:
        return ResumedDecoder(self._decoder, self._answer)


class ResumedDecoder(Decoder):
    """A decoder whose first token is the next of another."""

    def __init__(self, decoder: Decoder, answer: Tensor):
        tokens = None if decoder.tokens is None else decoder.tokens - decoder.length
        super().__init__(answer, tokens)
        self.kind, self._decoder, self._first = decoder.kind, decoder, decoder.length

    def _read(self, x: Tensor) -> Tensor:
        return self._decoder.read(x)

    def truncate(self, length: int) -> None:
        super().truncate(length)
        self._decoder.truncate(self._first + length)

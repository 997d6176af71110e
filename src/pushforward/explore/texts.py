"""Texts of a flow, and how many bits each of their tokens has."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pushforward.codecs import CodedFlow, GaussianCodebook
from pushforward.data import Tokenizer
from pushforward.explore.blocks import bits, blocks
from pushforward.randomness import Keyed
from pushforward.runs.texts import written
from pushforward.sampling import Sampling

MOST = 1000  # tokens to draw


class Texts:
    """Texts of a flow over windows of tokens."""

    def __init__(self, coded: CodedFlow, tokenizer: Tokenizer):
        self.coded, self.tokenizer = coded, tokenizer
        self.window = int(coded.flow.event[0])

    def drawn(self, sampling: Sampling) -> dict[str, Any]:
        """A prompt and how it goes on, as `pushforward sample` draws it: each token, and its bits.

        Raises ValueError where the tokenizer does not know the prompt.
        """
        given = torch.from_numpy(self.tokenizer.encode("".join(sampling.prompt))).long()[None]
        length = sampling.length
        if length is not None:
            sampling = replace(sampling, length=max(length, self.window - given.shape[1]))  # bits are of a whole window
        tokens, how = written(self.coded, given, sampling, (0, 0))
        shown = slice(None if length is None else given.shape[1] + length)
        found = self.bits(tokens)[shown]
        return {
            "tokens": [self.tokenizer.decode([token]) for token in tokens[0, shown].tolist()],
            "given": given.shape[1],
            "bits": found.round(decimals=3).tolist(),
            "unit": f"bits/{self.tokenizer.unit}",
            "how": how,
        }

    def bits(self, tokens: Tensor) -> Tensor:
        """The bits of each token of (1, n), at least a window: in the first window given the tokens of the window, and
        then in windows half a window further, of whose tokens the last half are counted.

        A token has the bits of its latent, of its slopes in every step, and those that the codec adds for it. Over a
        window they sum to the bound with one draw.
        """
        n, found = tokens.shape[1], torch.zeros(0)
        for stop in [*range(self.window, n, self.window // 2), n]:
            within = self._within(tokens[:, stop - self.window : stop])
            found = torch.cat([found, within[self.window - (stop - len(found)) :]])
        return found

    @torch.no_grad()
    def _within(self, window: Tensor) -> Tensor:
        """The bits of each token of a window, (tokens,)."""
        codec = self.coded.codec
        x, log_q = codec.encode(window, Keyed(0, rows=[0]))
        log_p = self.coded.flow.log_prob(x).item()
        found = bits(self.coded.flow, blocks(self.coded.flow, x), log_p).flatten(1).sum(1)
        if isinstance(codec, GaussianCodebook):
            return found + codec.log_densities(x)[0].logsumexp(-1) / math.log(2)
        return found + log_q / math.log(2) / len(found)

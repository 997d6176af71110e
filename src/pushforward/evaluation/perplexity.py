"""Generative perplexity: the perplexity of generated texts under another language model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from pushforward.data import Tokenizer
from pushforward.networks import FrozenLanguageModel


@dataclass(frozen=True)
class GenerativePerplexity:
    """How a language model judges texts. Printed, it is one line."""

    perplexity: float  # exp of the mean of −log p over all tokens of its own but the first of each text
    entropy: float  # of the frequencies of these tokens in a text, in nats, the mean over texts
    texts: int
    tokens: int

    def __str__(self) -> str:
        return (
            f"generative perplexity {self.perplexity:.1f}, entropy {self.entropy:.2f} nats "
            f"({self.texts:,} texts, {self.tokens:,} tokens)"
        )


@torch.no_grad()
def generative_perplexity(
    texts: Sequence[str], judge: FrozenLanguageModel, tokenizer: Tokenizer
) -> GenerativePerplexity:
    """The perplexity of texts under a language model, such as `FrozenLanguageModel.pretrained()` with its tokenizer
    `LanguageTokenizer()`.

    It is no distance between distributions: a text that repeats itself has a low perplexity, and then its entropy is
    low too. Compare both with those of real texts of the same length. The first token of a text is given. Raises
    ValueError for a text of fewer than two tokens, or more than the judge reads.
    """
    cost, entropy, count = 0.0, 0.0, 0
    for text in texts:
        tokens = torch.from_numpy(tokenizer.encode(text)).to(judge.embedding.weight.device)
        if len(tokens) < 2:
            raise ValueError(f"a text needs two tokens to be judged; {text!r} has {len(tokens)}.")
        logits = judge.logits(judge(judge.embed(tokens[None, :-1])))[0].float()
        cost += F.cross_entropy(logits, tokens[1:], reduction="sum").item()
        share = tokens.unique(return_counts=True)[1] / len(tokens)
        entropy -= (share * share.log()).sum().item()
        count += len(tokens) - 1
    if not count:
        raise ValueError("there are no texts to judge.")
    return GenerativePerplexity(math.exp(cost / count), entropy / len(texts), len(texts), count)

"""Context encoders that put tokens before a sequence, and the causal transformer that reads them first.

    read        prefix …  first   x0   x1  …
    returned              a0      a1   a2  …

Gu et al. 2025 (STARFlow), arXiv:2506.06276.
"""

import torch
from torch import Tensor, nn

from pushforward.conditions import Context, find
from pushforward.networks.decoder import Decoder
from pushforward.networks.embeddings import VectorEmbedding
from pushforward.networks.layers import GroupedTransformer, LayerOptions
from pushforward.networks.positions import Positions
from pushforward.networks.transformer import AttentionDecoder, KeysAndValues, Recall, reads_token_by_token, through
from pushforward.plain import computes_in
from pushforward.randomness import normal
from pushforward.shapes import Tokens, at_least_float32


class Prefix(nn.Module):
    """The base class of context encoders that make tokens: context -> (batch, tokens, width)."""

    tokens: int


class TextPrefix(Prefix):
    """The tokens of a text as a prefix. Context -> (batch, tokens, width).

    Embeddings of padding are zeros, which are read like others; in rows that are null all are. `name` names the
    condition that it reads.
    """

    def __init__(self, tokens: int, features: int, width: int, *, name: str = "text"):
        super().__init__()
        self.name, self.tokens = name, tokens
        self.linear = nn.Linear(features, width)

    def forward(self, context: Context | None) -> Tensor:
        text = find(context, self.name)
        none = text.null[:, None] if text.mask is None else text.null[:, None] | ~text.mask
        return self.linear(text.value.masked_fill(none[..., None], 0).to(computes_in(self.linear)))


class LabelPrefix(Prefix):
    """A class label as a prefix of one token, with a learned null. Context -> (batch, 1, width).

    `name` names the condition that it reads.
    """

    tokens = 1

    def __init__(self, classes: int, width: int, *, name: str = "label"):
        super().__init__()
        self.name, self.classes = name, classes
        self.linear = nn.Linear(classes + 1, width)  # of one-hot vectors; the last class is the null

    def forward(self, context: Context | None) -> Tensor:
        label = find(context, self.name)
        classes = torch.where(label.null, self.classes, label.value)
        one_hot = classes[:, None] == torch.arange(self.classes + 1, device=classes.device)
        return self.linear(one_hot.to(computes_in(self.linear)))[:, None]


class NumberPrefix(Prefix):
    """A number, such as a noise level or a frame rate, as a prefix of one token. Context -> (batch, 1, width).

    A linear map of the cosines and sines of v · 1000 · 10000^(−k / n), k = 0 … n − 1; the null is a learned vector.
    `name` names the condition that it reads.
    """

    tokens, waves = 1, 64

    def __init__(self, width: int, *, name: str):
        super().__init__()
        self.name = name
        self.linear = nn.Linear(2 * self.waves, width)
        self.null = nn.Parameter(normal(1, width))

    def forward(self, context: Context | None) -> Tensor:
        number = find(context, self.name)
        value = at_least_float32(number.value).masked_fill(number.null, 0)[:, None]  # else NaN there, in gradients too
        angles = (
            value * 1000 * 10000 ** -(torch.arange(self.waves, device=value.device, dtype=value.dtype) / self.waves)
        )
        features = torch.cat([angles.cos(), angles.sin()], 1).to(computes_in(self.linear))
        return torch.where(number.null[:, None], self.null, self.linear(features))[:, None]


class VectorPrefix(Prefix):
    """A standardised vector as a prefix of one token, with a learned null. Context -> (batch, 1, width).

    `name` names the condition that it reads.
    """

    tokens = 1

    def __init__(self, features: int, width: int, *, name: str = "vector", robust: bool = False):
        super().__init__()
        self.embedding = VectorEmbedding(features, width, name=name, robust=robust)

    def forward(self, context: Context | None) -> Tensor:
        return self.embedding(context)[:, None]


class Prefixes(Prefix):
    """Prefixes one after another. Context -> (batch, tokens, width)."""

    def __init__(self, *prefixes: Prefix):
        super().__init__()
        self.each = nn.ModuleList(prefixes)
        self.tokens = sum(prefix.tokens for prefix in prefixes)

    def forward(self, context: Context | None) -> Tensor:
        return torch.cat([prefix(context) for prefix in self.each], 1)


class PrefixTransformer(GroupedTransformer):
    """(B, T, D) -> (B, T, *raw): raw parameters of each token, from the prefix and the tokens before it.

    A learned first token, in the space of x, stands before x_0, so that the parameters of the first token are learned
    too. `prefix` is a context encoder whose tokens come before; without one the context is ignored. `positions` may
    rotate queries and keys; places −prefix.tokens … −1 are those of the prefix. At the start the output is zero.

    >>> from pushforward.networks.positions import ScaledRotary
    >>> net = PrefixTransformer(3, (3, 2), positions=ScaledRotary((4, 4)), width=64, depth=2)
    >>> net(torch.zeros(5, 16, 3)).shape
    torch.Size([5, 16, 3, 2])
    """

    attends = True

    def __init__(
        self,
        features: int,
        raw: tuple[int, ...],
        *,
        positions: Positions,
        width: int,
        depth: int,
        options: LayerOptions | None = None,
        prefix: Prefix | None = None,
    ):
        super().__init__(features, raw, positions, width, depth, options or LayerOptions())
        self.prefix, self.conditional = prefix, prefix is not None

    @property
    def tokens(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.positions.tokens

    def forward(
        self, x: Tokens, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Tensor:
        self.check_length(x)
        before = self._before(x.shape[0], context)
        h = torch.cat([before, self.embedded(x[:, :-1])], 1)
        return self._following(h, attention_temperature, 1 - before.shape[1])[:, before.shape[1] - 1 :]

    def start(
        self, rows: int, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Decoder:
        if not reads_token_by_token(self, PrefixTransformer):
            return self.whole(rows, context, attention_temperature=attention_temperature)
        before = self._before(rows, context)
        n = before.shape[1]
        memory = KeysAndValues(len(self.layers), None if self.tokens is None else n + self.tokens)

        def following(x: Tokens, start: int, recalls: list[Recall]) -> Tensor:
            return self._following(self.embedded(x), attention_temperature, start + 1, recalls)

        answer = self._following(before, attention_temperature, 1 - n, memory.recalls(0))[:, -1:]
        return AttentionDecoder(following, memory, answer, self.tokens, n)

    def _before(self, rows: int, context: Context | None) -> Tensor:
        """What stands before x_0: the prefix and the first token, (B, n, W)."""
        first = self.embedded(self.first.expand(rows, 1, -1))
        return first if self.prefix is None else torch.cat([self.prefix(context).expand(rows, -1, -1), first], 1)

    def _following(
        self, h: Tensor, temperature: Tensor | None, start: int, recalls: list[Recall] | None = None
    ) -> Tensor:
        """Embedded tokens at places start, start + 1, … -> raw parameters of the tokens after them, (B, n, *raw).

        `recalls` has for each layer a function that adds the keys and values of the tokens before `start`.
        """
        h = self.positions(h, start)
        rotation = self.positions.rotation(start, start + h.shape[1], self.head, h.device)
        return self.answers(self.norm(through(self.layers, h, temperature, rotation, recalls)))

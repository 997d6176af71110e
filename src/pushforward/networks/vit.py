"""A vision transformer: raw parameters for each token from all tokens of another sequence of the same length.

Kolesnikov et al. 2024 (Jet), arXiv:2412.15129, after Dosovitskiy et al. 2021, arXiv:2010.11929.
"""

import math

from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.networks.transformer import Layer
from pushforward.plain import computes_in
from pushforward.randomness import normal


class ViT(nn.Module):
    """(B, T, D) -> (B, T, *raw). Learned positions; pre-norm layers in which every token attends to all.

    `context_encoder` turns the context into a vector that is added to every token. At the start the output is zero.

    >>> ViT(6, (6, 2), tokens=4, width=16, depth=2, heads=2)(torch.zeros(5, 4, 6)).shape
    torch.Size([5, 4, 6, 2])
    """

    def __init__(
        self,
        features: int,
        raw: tuple[int, ...],
        *,
        tokens: int,
        width: int,
        depth: int,
        heads: int = 1,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.raw, self.context_encoder = raw, context_encoder
        self.read = nn.Linear(features, width)
        self.positions = nn.Parameter(normal(width**-0.5, tokens, width))
        self.layers = nn.ModuleList(Layer(width, heads, causal=False) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.answer = zeroed(nn.Linear(width, math.prod(raw)))

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        h = self.read(x.to(computes_in(self.read))) + self.positions
        if self.context_encoder is not None:
            h = h + self.context_encoder(context)[:, None]
        for layer in self.layers:
            h = layer(h)
        return self.answer(self.norm(h)).unflatten(-1, self.raw)

"""A transformer that is not causal and learns the inverse of a flow, step by step.

Lu et al. 2025 (BiFlow), arXiv:2512.10953.
"""

import torch
from torch import nn

from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.networks.attention import heads_for
from pushforward.networks.prefix import Prefix
from pushforward.networks.transformer import Layer
from pushforward.plain import computes_in
from pushforward.randomness import normal
from pushforward.shapes import Tokens


class InverseTransformer(nn.Module):
    """(B, T, D) -> `steps` answers of the same shape, one after another: a_1 … a_steps.

    Each step has `depth` pre-norm layers, in which every token attends to all and to the prefix, and scales and shifts
    the answer before it:

        a_0 = z,        a_k = a_(k−1) · exp(log_scale_k(h_k)) + shift_k(h_k),        h_k = layers_k(h_(k−1))

    `prefix` is a context encoder whose tokens come before. At the start all answers are z.

    >>> InverseTransformer(6, tokens=4, width=16, depth=1, steps=3)(torch.zeros(5, 4, 6))[-1].shape
    torch.Size([5, 4, 6])
    """

    def __init__(
        self,
        features: int,
        *,
        tokens: int,
        width: int,
        depth: int,
        steps: int,
        prefix: Prefix | None = None,
    ):
        super().__init__()
        self.prefix = prefix
        self.read = nn.Linear(features, width)
        self.positions = nn.Parameter(normal(width**-0.5, tokens, width))
        self.steps, self.answers = nn.ModuleList(), nn.ModuleList()
        for _ in range(steps):
            self.answers.append(nn.Sequential(nn.LayerNorm(width), zeroed(nn.Linear(width, 2 * features))))
            self.steps.append(nn.Sequential(*(Layer(width, heads_for(width), causal=False) for _ in range(depth))))

    def forward(self, z: Tokens, context: Context | None = None) -> list[Tokens]:
        h, answer, answers = self.read(z.to(computes_in(self.read))) + self.positions, z, []
        if self.prefix is not None:
            h = torch.cat([self.prefix(context).expand(len(h), -1, -1), h], 1)
        for layers, head in zip(self.steps, self.answers, strict=True):
            h = layers(h)
            log_scale, shift = head(h[:, -z.shape[1] :]).to(z.dtype).chunk(2, -1)
            answer = answer * log_scale.exp() + shift
            answers.append(answer)
        return answers

"""Alignment of a learned inverse with the flow that it inverts.

    loss = Σ_k E |a_k − h_(n−k)|² / elements + E |a_(n+1) − clean|² / elements

h_0 … h_n are what the flow makes of noisy data x = h_0 on the way to z = h_n, and a_k the answers of the network to z.
Lu et al. 2025 (BiFlow), arXiv:2512.10953.
"""

import torch
from torch import Tensor

from pushforward.codecs import Codec, Identity
from pushforward.conditions import Given
from pushforward.learned_inverse import LearnedInverse
from pushforward.objectives.objective import Objective, check_dropout, weighted, with_dropout
from pushforward.randomness import Source


class InverseAlignment(Objective):
    """Trains a `LearnedInverse` on data: `minimise(InverseAlignment(inverse, codec), data, plan)` returns it.

    The codec is that by which the flow was trained. The value is the squared error of the last answer, an element of
    the event. `condition_dropout` is the probability that all conditions of a row are null.
    """

    unit = "squared error"
    scores = False

    def __init__(self, inverse: LearnedInverse, codec: Codec = Identity(), *, condition_dropout: float = 0.0):
        super().__init__()
        check_dropout(condition_dropout)
        self.flow, self.codec, self.condition_dropout = inverse, codec, condition_dropout  # pyright: ignore

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        inverse: LearnedInverse = self.flow  # pyright: ignore
        with torch.no_grad():  # the codec stays that of the flow
            x, clean = self.codec.encode(data, generator)[0], self.codec.clean(data)
        rows = with_dropout(inverse.flow, x, context, self.condition_dropout, generator)
        rows = inverse.flow.embedded(rows)
        *states, z = inverse.states(x, rows)
        targets = [*reversed(states), inverse.tokens(clean)]
        errors = [(a - b).square().flatten(1).mean(1) for a, b in zip(inverse.net(z, rows), targets, strict=True)]
        error = weighted(torch.stack(errors), weights).mean(1)
        return error.sum(), {self.unit: error[-1].detach()}

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        """Nothing: the flow is trained."""

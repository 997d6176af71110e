"""Autoregressive transforms: each token moves by raw parameters that depend on the tokens before it.

    z_t = move(x_t; net(x_0 … x_{t−1}))

The Jacobian is block triangular, so its log-determinant is a sum over tokens. From data to latent one parallel pass of
the network moves all tokens. From latent to data x_t depends on x_0 … x_{t−1}, so an inverse solver is needed
(`pushforward.solve`). Kingma et al. 2016 (IAF), arXiv:1606.04934; Papamakarios et al. 2017 (MAF), arXiv:1705.07057.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pushforward.bases import Base
from pushforward.conditions import Context
from pushforward.moves import Affine, Move
from pushforward.networks import CausalNetwork, Guided, Resumed, Rule
from pushforward.plain import is_unchanged
from pushforward.shapes import InParts, PerSample, Tokens, sum_event
from pushforward.solve import Solve, sequential
from pushforward.transform import Diagnosis, Guidable, Solving, Triangular, summed


class Autoregressive(Triangular, Solving, Guidable):
    """Moves each token of (batch, token, …) by the raw parameters that `net` returns for it from the tokens before."""

    causal = True

    def __init__(self, net: CausalNetwork, move: Move, *, solve: Solve = sequential):
        super().__init__()
        self.net, self.move, self.solve = net, move, solve

    def accepts(self, solve: object) -> bool:
        return callable(solve)

    def guided(self, rule: Rule, null: tuple[str, ...] | Context, attention_temperature: float) -> Autoregressive:
        """With the parameters of a Gaussian; itself where the null pass would be the same."""
        if not self.net.conditional and attention_temperature == 1:
            return self
        net = Guided(self.net, self.move, rule, conditions=null, attention_temperature=attention_temperature)
        return Autoregressive(net, Affine(), solve=self.solve)

    def slopes(self, x: Tokens, context: Context | None = None) -> tuple[Tokens, Tokens]:
        return self.move.forward(x, self.net(x, context))

    def log_prob(self, x: Tokens, base: Base, context: Context | None = None) -> PerSample:
        own = type(self.move).log_density is not Move.log_density  # else it is computed from z
        unchanged = is_unchanged(self, Autoregressive) and type(self).slopes is Autoregressive.slopes
        if not (own and unchanged and base.standard):
            return super().log_prob(x, base, context)
        return sum_event(self.move.log_density(x, self.net(x, context)))

    def inverse(self, z: Tokens, context: Context | None = None) -> tuple[Tokens, PerSample]:
        parts = zip(*self.solve(self.net, self.move, z, context), strict=True)  # tokens, and their log-slopes
        return summed(*(torch.cat(part, dim=1) for part in parts))

    def stream(self, z: InParts, context: Context | None = None, known: Tokens | None = None) -> Iterator[Tokens]:
        """One decoder reads every token but the last once, those that are known in one pass."""
        decoder, x, unread = None, known, known
        for part in z:
            decoder = decoder or self.net.start(part.shape[0], context)
            answer = decoder.answer if unread is None else decoder.read(unread)[:, -1:]
            begun, net = decoder.length, Resumed(self.net, decoder, answer, before=x)
            x = torch.cat([tokens for tokens, _ in self.solve(net, self.move, part, context)], 1)
            yield x
            unread = x[:, decoder.length - begun :]

    def diagnose(self, x: Tokens, z: Tokens, context: Context | None = None) -> Diagnosis:
        return Diagnosis("Autoregressive", self.slopes(x, context)[1], outside=self.move.outside(x))

    def extra_repr(self) -> str:
        return f"move={type(self.move).__name__}"

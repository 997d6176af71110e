"""Guidance: a network pushed away from its unconditional self.

The network is asked twice, in one batch: with the context, and with the null context (or with blunted attention, or
both). A rule combines the two answers, after they have been interpreted as parameters of a move, into the parameters
of an affine move. What comes out is again a causal network, so a guided flow is again an exact flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from pushforward.conditions import Context, batch_shape, concatenate, drop
from pushforward.moves import Affine, AffineParams, Move, Shift
from pushforward.networks.cache import Cache
from pushforward.networks.causal import CausalNetwork
from pushforward.shapes import Tokens


class Rule(Protocol):
    """How two answers become one; `progress` (token, …, 1) runs from 0 at the first token to 1 at the last."""

    def __call__(self, conditional: AffineParams, null: AffineParams, progress: Tensor) -> AffineParams: ...


@dataclass(frozen=True)
class LinearRule:
    """Extrapolation in log-scale and shift: p <- p_conditional + g · (p_conditional − p_null).

    g is `weight`, or grows along the sequence from 0 at the first token to `weight` at the last ("linear").
    Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
    """

    weight: float
    on: Literal["both", "scale", "mean"] = "both"
    schedule: Literal["constant", "linear"] = "constant"

    def __post_init__(self):
        if self.on not in ("both", "scale", "mean"):
            raise ValueError(f'guidance acts on "both", "scale" or "mean"; got on={self.on!r}.')
        if self.schedule not in ("constant", "linear"):
            raise ValueError(f'the guidance schedule is "constant" or "linear"; got {self.schedule!r}.')

    def __call__(self, conditional: AffineParams, null: AffineParams, progress: Tensor) -> AffineParams:
        g = self.weight * (progress if self.schedule == "linear" else 1)
        log_scale, shift = conditional
        if self.on != "mean":
            log_scale = log_scale + g * (log_scale - null.log_scale)
        if self.on != "scale":
            shift = shift + g * (shift - null.shift)
        return AffineParams(log_scale, shift)


class Guided(CausalNetwork):
    """A causal network, asked with its context and without, and the two answers combined by `rule`.

    `move` interprets the network's answers; the guided answers are for a plain `Affine` move.
    `attention_temperature` divides the attention logits of the null pass.
    """

    def __init__(self, net: CausalNetwork, move: Move, rule: Rule, *, attention_temperature: float = 1.0):
        super().__init__()
        if not isinstance(move, Affine | Shift):
            raise TypeError(f"guidance is defined for affine and shift moves, not for {type(move).__name__}.")
        if attention_temperature != 1 and not net.attends:
            raise ValueError(
                f"attention_temperature blunts attention, and a {type(net).__name__} has none; got "
                f"{attention_temperature:g}. Leave it out: a conditional flow is guided away from its null context."
            )
        self.net, self.move, self.rule = net, move, rule
        self.attention_temperature = attention_temperature
        self.tokens, self.attends = net.tokens, net.attends

    def start(self, context: Context | None = None) -> Cache:
        return self.net.start(self._both(context or {}))

    def forward(self, x: Tokens, context: Context | None = None, cache: Cache | None = None) -> Tensor:
        first = 0 if cache is None else cache.length
        params = self.move.interpret(
            self.net(torch.cat([x, x]), self._both(context or {}), cache, self._temperature(x))
            if self.attention_temperature != 1
            else self.net(torch.cat([x, x]), self._both(context or {}), cache)
        )
        conditional, null = (AffineParams(*half) for half in zip(*(p.chunk(2) for p in params), strict=True))
        tokens = torch.arange(first, first + conditional.shift.shape[1], device=x.device)
        progress = tokens.reshape(-1, *[1] * (x.dim() - 2)) / max(self.tokens - 1, 1)
        return torch.stack(self.rule(conditional, null, progress.to(conditional.shift.dtype)), dim=-1)

    def _temperature(self, x: Tokens) -> Tensor:
        return torch.tensor([1.0, self.attention_temperature], device=x.device).repeat_interleave(len(x))

    def _both(self, context: Context) -> Context:
        """The context, and beside it the null context."""
        if not context:
            return context
        everyone = torch.ones(batch_shape(context), dtype=torch.bool, device=next(iter(context.values())).null.device)
        return concatenate(context, drop(context, everyone))

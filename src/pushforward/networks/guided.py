"""Guidance: a network pushed away from its unconditional self.

The network is asked twice, in one batch: with the context, and with the null context (or with blunted attention, or
both). A rule combines the two answers, as named parameters of a move, into the parameters of an affine move. What comes
out is again a causal network, so a guided flow is again an exact flow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.conditions import Context, batch_shape, concatenate, drop
from pushforward.moves import AffineParams, Move
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.decoder import Decoder
from pushforward.networks.plain import is_unchanged
from pushforward.shapes import Tokens


class Rule(ABC):
    """How the parameters of two Gaussians, with the context and without, become those of one."""

    def check(self, move: Move) -> None:
        """Raise where it cannot guide this move."""
        if not move.gaussian:
            raise TypeError(f"guidance is defined for affine and shift moves, not for {type(move).__name__}.")

    @abstractmethod
    def __call__(self, conditional: AffineParams, null: AffineParams, progress: Tensor | None) -> AffineParams:
        """`progress` (token, …, 1) runs from 0 at the first token to 1 at the last; None where there is no last one."""


class Guided(CausalNetwork):
    """A causal network, asked with its context and without, and the two answers combined by `rule`.

    `move` names the network's answers; the guided answers are for a plain `Affine` move. The null pass is without the
    named conditions, or without all, and `attention_temperature` divides its attention logits.
    """

    def __init__(
        self,
        net: CausalNetwork,
        move: Move,
        rule: Rule,
        *,
        conditions: tuple[str, ...] = (),
        attention_temperature: float = 1.0,
    ):
        super().__init__()
        rule.check(move)
        if attention_temperature != 1 and not net.attends:
            raise ValueError(
                f"attention_temperature blunts attention, and a {type(net).__name__} has none; got "
                f"{attention_temperature:g}. Leave it out: a conditional flow is guided away from its null context."
            )
        self.net, self.move, self.rule = net, move, rule
        self.conditions, self.attention_temperature = conditions, attention_temperature
        self.tokens, self.token, self.attends = net.tokens, net.token, net.attends

    def forward(
        self, x: Tokens, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Tensor:
        options = self._options(len(x), x.device, attention_temperature)
        return self._combined(self.net(torch.cat([x, x]), self._both_contexts(context), **options), 0)

    def start(
        self, rows: int, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Decoder:
        if not is_unchanged(self, Guided):
            return self.whole(rows, context, attention_temperature=attention_temperature)
        options = self._options(rows, next(self.parameters()).device, attention_temperature)
        return GuidedDecoder(self.net.start(2 * rows, self._both_contexts(context), **options), self._combined)

    def _both_contexts(self, context: Context | None) -> Context | None:
        """The context as it is, then without what guidance drops."""
        if not context:
            return context
        null = torch.ones(batch_shape(context), dtype=torch.bool, device=next(iter(context.values())).null.device)
        return concatenate(context, drop(context, null, *self.conditions))

    def _options(self, rows: int, device: torch.device, now: Tensor | None) -> dict[str, Tensor]:
        """The attention temperature of each row, where it is not 1 for all."""
        if self.attention_temperature == 1 and now is None:
            return {}
        now = torch.ones(rows, device=device) if now is None else now
        return {"attention_temperature": torch.cat([now, self.attention_temperature * now])}

    def _combined(self, raw: Tensor, first: int) -> Tensor:
        """Answers with the context and without, of the tokens from `first` on -> the guided ones."""
        params = self.move.params(raw)
        conditional, null = (AffineParams(*half) for half in zip(*(p.chunk(2) for p in params), strict=True))
        progress = None
        if self.tokens is not None:
            places = torch.arange(first, first + raw.shape[1], device=raw.device)
            progress = places.reshape(-1, *[1] * len(self.token)) / max(self.tokens - 1, 1)
            progress = progress.to(conditional.shift.dtype)
        return torch.stack(self.rule(conditional, null, progress), dim=-1)


class GuidedDecoder(Decoder):
    """A decoder of twice as many rows, with the context and without. Its kind is theirs."""

    def __init__(self, both: Decoder, combined: Callable[[Tensor, int], Tensor]):
        super().__init__(combined(both.answer, 0), both.tokens)
        self.kind, self._both, self._combined = both.kind, both, combined

    def _read(self, x: Tensor) -> Tensor:
        return self._combined(self._both.read(torch.cat([x, x])), self.length + 1)

    def truncate(self, length: int) -> None:
        super().truncate(length)
        self._both.truncate(length)

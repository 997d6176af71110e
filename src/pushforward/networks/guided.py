"""Guidance: a network whose outputs are extrapolated away from its unconditional outputs.

The network reads each row twice, in one batch: with the context, and with the null context (or with another attention
temperature, or both). A rule combines both outputs, as named parameters of a move, into the parameters of an affine
move. The result is a causal network, so a guided flow is an exact flow.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.conditions import Context, batch_shape, concatenate, drop, each, expand
from pushforward.moves import AffineParams, Move
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.decoder import Decoder
from pushforward.networks.graph import GraphDecoder
from pushforward.plain import is_unchanged
from pushforward.shapes import Tokens


class Rule(ABC):
    """Combines the parameters of two Gaussians, with the context and without, into those of one."""

    weight: float
    plain: bool = False  # whether it is p + weight · (p − p_null) for all parameters p, which guides velocities too

    def check(self, move: Move) -> None:
        """Raise ValueError where the rule cannot guide this move."""
        if not move.gaussian:
            raise ValueError(f"guidance is defined for affine and shift moves, not for {type(move).__name__}.")

    @abstractmethod
    def __call__(self, conditional: AffineParams, null: AffineParams, progress: Tensor | None) -> AffineParams:
        """`progress` (token, …, 1) runs from 0 at the first token to 1 at the last; None if the length is open."""


class Guided(CausalNetwork):
    """A causal network whose outputs with its context and without are combined by `rule`.

    `move` names the network's raw parameters; the guided ones are for an `Affine` move without a bound. In the null
    pass the named conditions are null, or all where none are named, and `attention_temperature` divides attention
    logits. `conditions` may also be the context of the null pass itself, of one row or of as many as are read.
    """

    def __init__(
        self,
        net: CausalNetwork,
        move: Move,
        rule: Rule,
        *,
        conditions: tuple[str, ...] | Context = (),
        attention_temperature: float = 1.0,
    ):
        super().__init__()
        rule.check(move)
        if attention_temperature != 1 and not net.attends:
            raise ValueError(
                f"attention_temperature={attention_temperature:g} divides attention logits, and a "
                f"{type(net).__name__} has no attention. Leave it out: a conditional flow is guided away from its null "
                "context."
            )
        self.net, self.move, self.rule = net, move, rule
        self.conditions, self.attention_temperature = conditions, attention_temperature
        self.tokens, self.token, self.attends = net.tokens, net.token, net.attends
        self.conditional = net.conditional

    def forward(
        self, x: Tokens, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Tensor:
        options = self._options(x.shape[0], x.device, attention_temperature)
        both = with_null(context, self.conditions)
        return self._combined(self.net(torch.cat([x, x]), both, **options), _places(0, x))

    def start(
        self, rows: int, context: Context | None = None, *, attention_temperature: Tensor | None = None
    ) -> Decoder:
        if not is_unchanged(self, Guided):
            return self.whole(rows, context, attention_temperature=attention_temperature)
        options = self._options(rows, next(self.parameters()).device, attention_temperature)
        return self.guided(self.net.start(2 * rows, with_null(context, self.conditions), **options))

    def guided(self, both: Decoder) -> Decoder:
        """The guided decoder, of one of the network whose rows are those with the context, then those without."""
        if not isinstance(both, GraphDecoder) or both.tokens is None:
            return GuidedDecoder(both, self._combined)

        def advance(x: Tensor, places: Tensor, length: int) -> Tensor:
            return self._combined(both.advance(torch.cat([x, x]), places, length), places + 1)

        return GraphDecoder(advance, self._combined(both.answer, _places(0, both.answer)), both.tokens)

    def _options(self, rows: int, device: torch.device, now: Tensor | None) -> dict[str, Tensor]:
        """The attention temperature of each row, unless all are 1."""
        if self.attention_temperature == 1 and now is None:
            return {}
        now = torch.ones(rows, device=device) if now is None else now
        return {"attention_temperature": torch.cat([now, self.attention_temperature * now])}

    def _combined(self, raw: Tensor, places: Tensor) -> Tensor:
        """Raw parameters with the context and without, of the tokens at `places` (n,) -> the guided ones."""
        params = self.move.params(raw)
        conditional, null = (AffineParams(*half) for half in zip(*(p.chunk(2) for p in params), strict=True))
        progress = None
        if self.tokens is not None:
            progress = places.reshape(-1, *[1] * len(self.token)) / max(self.tokens - 1, 1)
            progress = progress.to(conditional.shift.dtype)
        return torch.stack(self.rule(conditional, null, progress), dim=-1)


def with_null(context: Context | None, null: tuple[str, ...] | Context) -> Context | None:
    """The context, then that of the null pass, as one batch: the named conditions are null in it, or all where none are
    named, or are those of another context."""
    if not context:
        return context
    shape, device = batch_shape(context), next(iter(context.values())).null.device
    if isinstance(null, tuple):
        everywhere = torch.ones(shape, dtype=torch.bool, device=device)
        return concatenate(context, drop(context, everywhere, *null))
    return concatenate(context, {**context, **each(expand(null, shape), lambda t: t.to(device))})


class GuidedDecoder(Decoder):
    """A decoder of twice as many rows, with the context and without, whose outputs are combined."""

    def __init__(self, both: Decoder, combined: Callable[[Tensor, Tensor], Tensor]):
        super().__init__(combined(both.answer, _places(0, both.answer)), both.tokens)
        self.kind, self._both, self._combined = both.kind, both, combined

    def _read(self, x: Tensor) -> Tensor:
        return self._combined(self._both.read(torch.cat([x, x])), _places(self.length + 1, x))

    def truncate(self, length: int) -> None:
        super().truncate(length)
        self._both.truncate(length)


class Paired(Decoder):
    """Two decoders of as many rows as one: those of the first, then those of the second."""

    def __init__(self, first: Decoder, second: Decoder):
        super().__init__(torch.cat([first.answer, second.answer]), first.tokens)
        self.kind, self._both = first.kind, (first, second)

    def _read(self, x: Tensor) -> Tensor:
        return torch.cat([decoder.read(half) for decoder, half in zip(self._both, x.chunk(2), strict=True)])

    def truncate(self, length: int) -> None:
        super().truncate(length)
        for decoder in self._both:
            decoder.truncate(length)


def _places(first: int, x: Tensor) -> Tensor:
    """Those of the tokens of x (B, n, …), from `first` on, (n,)."""
    return torch.arange(first, first + x.shape[1], device=x.device)

"""Guidance: a transform pushed away from its unconditional self, which is again an exact transform.

In every autoregressive step a network answers the parameters of a Gaussian. A rule extrapolates them from those of the
null context, or of blunted attention, to those of the context: see `pushforward.networks.Guided`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pushforward.moves import Affine, AffineParams, Move
from pushforward.networks.guided import Guided, Rule
from pushforward.transform import Transform, replaced
from pushforward.transforms import Autoregressive

__all__ = ["Linear", "Rule", "guide"]


@dataclass(frozen=True)
class Linear(Rule):
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

    def check(self, move: Move) -> None:
        super().check(move)
        if self.on == "scale" and move.volume_preserving:
            raise ValueError(f'a {type(move).__name__.lower()} has no scale to guide; use on="mean" or "both".')

    def __call__(self, conditional: AffineParams, null: AffineParams, progress: Tensor | None) -> AffineParams:
        g = self._weight(progress)
        log_scale, shift = conditional
        if self.on != "mean":
            log_scale = log_scale + g * (log_scale - null.log_scale)
        if self.on != "scale":
            shift = shift + g * (shift - null.shift)
        return AffineParams(log_scale, shift)

    def _weight(self, progress: Tensor | None) -> float | Tensor:
        if self.schedule == "constant":
            return self.weight
        if progress is None:
            raise ValueError(
                'a "linear" schedule grows to the last token, and these sequences may be of any length; use "constant".'
            )
        return self.weight * progress


def guide(
    transform: Transform, rule: Rule, *, conditions: tuple[str, ...] = (), attention_temperature: float = 1.0
) -> Transform:
    """The transform with every autoregressive step guided by the rule: the same weights, and again exact.

    The pass that is moved away from is without the named conditions, or without all where none are named, and
    `attention_temperature` divides its attention logits.
    """
    if not any(isinstance(part, Autoregressive) for part in transform.modules()):
        raise ValueError("guidance acts in autoregressive steps, and this flow has none.")

    def guided(step: Autoregressive) -> Autoregressive:
        net = Guided(step.net, step.move, rule, conditions=conditions, attention_temperature=attention_temperature)
        return Autoregressive(net, Affine(), solve=step.solve)

    return replaced(transform, Autoregressive, guided)  # pyright: ignore[reportReturnType]

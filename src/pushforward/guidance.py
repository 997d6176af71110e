"""Guidance: a flow guided away from its null context. The result is again an exact flow.

In an autoregressive step a network returns the parameters of a Gaussian. A rule extrapolates them from those of the
null context, or of another attention temperature, to those of the context: see `pushforward.networks.Guided`. In a
continuous step it extrapolates the velocity.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from pushforward.arrays import check_number, moved
from pushforward.conditions import Given, each, read
from pushforward.moves import AffineParams, Move
from pushforward.networks.guided import Rule
from pushforward.transform import Guidable, Transform, replaced

__all__ = ["GaussianProduct", "Linear", "Rule", "guided"]

AnyFlow = TypeVar("AnyFlow")


@dataclass(frozen=True)
class Linear(Rule):
    """Extrapolation in log-scale and shift: p <- p_conditional + g · (p_conditional − p_null).

    g is `weight`, or grows along the sequence from 0 at the first token to `weight` at the last ("linear").
    Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
    """

    weight: float = 1.0
    on: Literal["both", "scale", "mean"] = "both"
    schedule: Literal["constant", "linear"] = "constant"

    def __post_init__(self):
        check_number(self.weight, "weight")
        if self.on not in ("both", "scale", "mean"):
            raise ValueError(f'guidance acts on "both", "scale" or "mean"; got on={self.on!r}.')
        if self.schedule not in ("constant", "linear"):
            raise ValueError(f'the guidance schedule is "constant" or "linear"; got {self.schedule!r}.')

    @property
    def plain(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.on == "both" and self.schedule == "constant"

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
                'a "linear" schedule grows to the last token, and these sequences may have any length; use "constant".'
            )
        return self.weight * progress


@dataclass(frozen=True)
class GaussianProduct(Rule):
    """The Gaussian proportional to p_conditional^(1 + w) · p_null^(−w), at the weight w.

    With r = min(σ_conditional / σ_null, 1)² and d = 1 + w − w·r ≥ 1 it has

        mean = ((1 + w) · μ_conditional − w·r · μ_null) / d        deviation = σ_conditional / √d

    The ratio is clipped, so that the product has a finite variance where the null is the narrower.
    Gu et al. 2025 (STARFlow), arXiv:2506.06276.
    """

    weight: float = 1.0

    def __post_init__(self):
        check_number(self.weight, "weight", least=-1)

    def __call__(self, conditional: AffineParams, null: AffineParams, progress: Tensor | None) -> AffineParams:
        w = self.weight
        r = (2 * (conditional.log_scale - null.log_scale).clamp(max=0)).exp()
        d = 1 + w - w * r
        return AffineParams(
            conditional.log_scale - torch.log(d) / 2, ((1 + w) * conditional.shift - w * r * null.shift) / d
        )


def guided(
    flow: AnyFlow,
    weight: float,
    *,
    rule: Rule = Linear(),
    conditions: Collection[str] | Mapping[str, Given] = (),
    attention_temperature: float = 1.0,
    transforms: Collection[int] | None = None,
) -> AnyFlow:
    """The flow guided away from its null context: again an exact flow, of the same weights.

    In every autoregressive step the `rule`, at this weight, combines the parameters p of the move with p_null, those of
    a null pass: by default into p + weight · (p − p_null). In a continuous step p is the velocity, and the rule is that
    one.

    In the null pass the named `conditions` are null, or all where none are named; as a dict they have these values,
    such as a prompt to move away from. Attention logits are divided by `attention_temperature`; an unconditional flow
    needs one other than 1. `transforms` are those of these steps to guide, counted from the data, 0 first; None guides
    all. Steps that read no context, whose null pass would be the same, stay as they are.
    """
    own: Any = flow
    check_number(weight, "weight")
    check_number(attention_temperature, "attention_temperature", above=0)
    if attention_temperature == 1 and not own.conditions:
        raise ValueError(
            "guidance moves away from a null context or another attention temperature, and this flow is "
            "unconditional: give attention_temperature other than 1 (0.5, say)."
        )
    if unknown := set(conditions) - own.conditions.keys():
        raise ValueError(f"this flow has the conditions {[*own.conditions]}; got {sorted(unknown)}.")
    null = tuple(conditions)
    if isinstance(conditions, Mapping):
        kinds = {name: own.conditions[name] for name in conditions}
        null = each(read(kinds, conditions), partial(moved, device=own.device))
        with torch.no_grad():
            null = own.embedded(null)
    rule, numbers = replace(rule, weight=weight), count()  # pyright: ignore[reportArgumentType]

    def change(step: Guidable) -> Transform:
        number = next(numbers)
        chosen = transforms is None or number in transforms
        return step.guided(rule, null, attention_temperature) if chosen else step

    transform, steps = replaced(own.transform, Guidable, change), next(numbers)
    if not steps:
        raise ValueError("guidance acts in autoregressive and continuous steps, and this flow has none.")
    if wrong := sorted(set(transforms or ()) - set(range(steps))):
        raise ValueError(f"this flow has the transforms to guide 0 … {steps - 1}; got {wrong}.")
    return own.with_transform(transform)

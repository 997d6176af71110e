"""Guidance: a transform pushed away from its unconditional self, which is again an exact transform."""

from __future__ import annotations

from pushforward.moves import Affine, Shift
from pushforward.networks import Guided
from pushforward.networks import LinearRule as Linear
from pushforward.networks.guided import Rule
from pushforward.transform import Transform, replaced
from pushforward.transforms import Autoregressive

__all__ = ["Linear", "Rule", "guide"]


def guide(transform: Transform, rule: Linear, *, attention_temperature: float = 1.0) -> Transform:
    """Every autoregressive step guided by the rule, of the same weights."""
    if not any(isinstance(part, Autoregressive) for part in transform.modules()):
        raise ValueError("guidance acts in autoregressive steps, and this flow has none.")

    def guided(step: Autoregressive) -> Autoregressive:
        if rule.on == "scale" and isinstance(step.move, Shift):
            raise ValueError('a shift has no scale to guide; use on="mean" or "both".')
        net = Guided(step.net, step.move, rule, attention_temperature=attention_temperature)
        return Autoregressive(net, Affine(), solve=step.solve)

    return replaced(transform, Autoregressive, guided)  # pyright: ignore[reportReturnType]

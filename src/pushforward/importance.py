"""Importance weights of draws from a flow q, for a density p̃ = Z p that one can evaluate but not draw from.

    x ~ q,        log w = log p̃(x) − log q(x)

The mean of log w is log Z − KL(q ‖ p), which training by reverse KL raises. The mean of w is Z, which importance
sampling estimates.
"""

from collections.abc import Callable

from torch import Tensor

from pushforward.conditions import Given
from pushforward.flow import Flow
from pushforward.randomness import Source
from pushforward.shapes import Events

LogDensity = Callable[..., Tensor]  # of events (n, *event), and their context where there is one: log p̃ (n,)


def evaluate(log_density: LogDensity, x: Events, context: Given = None) -> Tensor:
    """log p̃ of events (n, *event), (n,).

    Raises ValueError where `log_density` does not return one real value an event, or changes its arguments in place.
    """
    given = [t for t in (x, context) if isinstance(t, Tensor) and not t.is_inference()]
    versions = [t._version for t in given]
    log_p = log_density(x) if context is None else log_density(x, context)
    if versions != [t._version for t in given]:
        raise ValueError(
            "log_density changes what it is given in place. Begin with x = x.clone(), or use operations that return a "
            "new tensor: x.mul(2) for x.mul_(2)."
        )
    if not isinstance(log_p, Tensor) or log_p.shape != x.shape[:1]:
        found = f"shape {tuple(log_p.shape)}" if isinstance(log_p, Tensor) else f"{type(log_p).__name__}"
        raise ValueError(
            f"log_density returns one value for each of {len(x)} events, a tensor ({len(x)},); it returned {found}. "
            "Sum over the event's axes and not over rows, in torch operations."
        )
    if not log_p.is_floating_point():
        raise ValueError(f"log_density returns real numbers; it returned {log_p.dtype}.")
    return log_p


def weighted_draws(
    flow: Flow, log_density: LogDensity, n: int | None = None, context: Given = None, *, generator: Source = None
) -> tuple[Events, Tensor]:
    """n events, or one for each row of the context, and their log-weights (n,), with gradients to the flow.

    Raises what `evaluate` does.
    """
    x, log_q = flow.rsample_and_log_prob(() if n is None else n, context, generator=generator)
    return x, evaluate(log_density, x, context) - log_q

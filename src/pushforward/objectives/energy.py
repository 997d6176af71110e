"""Checks of an unnormalised log-density log p̃, made before a flow is trained on it by reverse KL.

Training moves the flow's draws along the gradient of log p̃. Where that gradient is missing, or is not that of the
values, training ends without an error at a density that is not p. So the gradient is compared with central differences
of the values along one direction v for each draw, with two step sizes,

    d(h) = (log p̃(x + h v) − log p̃(x − h v)) / 2h,        error of d(h) ≈ |d(2h) − d(h)| + rounding / h

A log p̃ that is random, such as one of mini-batches, is not compared.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.conditions import batch_shape
from pushforward.data.data import Conditions, context_of
from pushforward.flow import Flow
from pushforward.importance import LogDensity, evaluate
from pushforward.randomness import keyed
from pushforward.shapes import Events
from pushforward.transforms import ProductSupport

DRAWS = 128  # with which a log-density is examined
WIDER = (10.0, 100.0)  # temperatures of draws that show whether a log-density has limits beyond the others
CHANGES = 1e-4, 1e4  # nats a feature over the spread of the draws: densities 100 times wider, and narrower, than they
WRONG = 0.1  # the share of draws whose gradients are wrong from which on a log-density is refused
ADVICE = (
    "Write log_density in torch operations, without .detach(), .item(), .numpy(), rounding or torch.no_grad(), or give "
    "its gradient by a torch.autograd.Function."
)


class Energy(NamedTuple):
    """log p̃ of events (n, *event), given these n rows of context where there are any."""

    log_density: LogDensity
    context: Any  # `data.Conditions`

    def part(self, rows: slice) -> Energy:
        """The log-density of events given these rows of the context."""
        return self._replace(context=context_of(self.context, rows))

    def __call__(self, x: Events) -> Tensor:
        return evaluate(self.log_density, x, self.context)

    def gradient(self, x: Events) -> tuple[Tensor, Tensor]:
        """log p̃, and its gradient in x."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            try:
                value = self(x.clone())  # which may be changed in place, unlike a leaf
            except RuntimeError as error:
                if "requires grad" not in str(error):
                    raise
                raise ValueError(f"log_density leaves torch, where it has no gradient. {ADVICE}") from error
            if not value.requires_grad:
                return value, torch.zeros_like(x)
            (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True, materialize_grads=True)
        return value.detach(), gradient


def check_energy(flow: Flow, log_density: LogDensity, context: Conditions = None) -> None:
    """Raise ValueError where reverse KL cannot train this flow on log p̃, with the reason and what to do.

    Log p̃ is evaluated at 128 draws of the flow, or one for each of the first 128 rows of the context. Refused are
    values that are not finite real numbers, values that depend on other rows, a gradient that is missing, not finite or
    not that of the values, and a log p̃ that does not depend on an element of unbounded support: its integral is
    infinite. Warns where log p̃ is in units far from the flow's.
    """
    energy = Energy(log_density, context).part(slice(DRAWS))
    with torch.no_grad():
        rows = flow.context(energy.context)
        n = DRAWS if context is None else batch_shape(rows).numel()
        z = flow.base.sample(n, rows, generator=keyed(0, -3))
        x = flow.decode(z, rows)
    value, gradient = energy.gradient(x)
    if fault := fault_at(x, value, gradient):
        raise ValueError(fault)
    if not gradient.any() and context is None and (value != value[0]).any():
        raise ValueError(f"log_density has no gradient: it is zero at all of {n} draws, whose values differ. {ADVICE}")
    with torch.no_grad():
        if torch.equal(energy(x), value):
            _check_rows(energy, x, value)
            _check_gradient(energy, x, value, gradient)
        _check_limits(flow, energy, x, z, gradient)
    _warn_of_units(x, gradient * ~_bounded(flow, x))


def fault_at(x: Events, value: Tensor, gradient: Tensor) -> str | None:
    """What is not finite of log p̃ (n,) or of its gradient at these draws (n, *event), and what to do; else None."""
    n = len(x)
    if not value.isfinite().all():
        kinds = {"−inf": value == -math.inf, "+inf": value == math.inf, "NaN": value.isnan()}
        found = " and ".join(f"{name} at {int(where.sum())}" for name, where in kinds.items() if where.any())
        return (
            f"log_density is {found} of {n} draws of the flow, first at {_first(x, ~value.isfinite())}. Reverse KL "
            "needs finite values wherever the flow draws. If the density is zero outside of a box, give the model its "
            "limits: supports=(Interval(low, high), …), one for each feature (pushforward.transforms)."
        )
    wrong = ~gradient.flatten(1).isfinite().all(1)
    if wrong.any():
        return (
            f"the gradient of log_density is not finite at {int(wrong.sum())} of {n} draws of the flow, first at "
            f"{_first(x, wrong)}, where its value is finite: look for a root, a norm or a logarithm at 0, and for "
            "torch.where, which hides values but not gradients."
        )
    return None


def _first(x: Events, where: Tensor) -> str:
    """The first of these events in words, of many elements the first few."""
    event = x[where][0].flatten()
    more = ", …" if len(event) > 6 else ""
    return f"({', '.join(f'{element:.4g}' for element in event[:6].tolist())}{more})"


def _check_rows(energy: Energy, x: Events, value: Tensor) -> None:
    """The second half of the rows has the same values without the first."""
    half = len(x) // 2
    rest = energy.part(slice(half, None))(x[half:])
    if not torch.allclose(rest, value[half:], rtol=1e-3, atol=1e-3):
        raise ValueError(
            "log_density of an event depends on the other events of its batch: half of them give other values. Return "
            "one value for each event, such as a sum over the event's axes, and nothing summed or averaged over rows."
        )


def _check_gradient(energy: Energy, x: Events, value: Tensor, gradient: Tensor) -> None:
    """Central differences agree with autograd's gradient, along all elements, and along those where it is zero."""
    for elements in (torch.ones_like(x[0]), (~gradient.any(0)).to(x)):
        wrong = _disagreement(energy, x, value, gradient, elements)
        if wrong > WRONG:
            raise ValueError(
                f"log_density has a gradient that is not that of its values, at {wrong:.0%} of {len(x)} draws: central "
                f"differences differ from autograd. Part of it is detached, or computed outside of torch. {ADVICE}"
            )


def _disagreement(energy: Energy, x: Events, value: Tensor, gradient: Tensor, elements: Tensor) -> float:
    """The share of draws at which differences along these elements are not the gradient's, within their error."""
    eps = max(torch.finfo(x.dtype).eps, torch.finfo(value.dtype).eps)
    signs = torch.randint(0, 2, x.shape, generator=keyed(0, -4), device="cpu").to(x) * 2 - 1
    step = eps ** (1 / 3)
    along = step * signs * x.std(0, correction=0) * elements
    found, error = [], []
    for times in (1, 2):
        above, below = x + times * along, x - times * along
        difference = (energy(above).double() - energy(below).double()) / times
        expected = (gradient.double() * (above.double() - below.double())).flatten(1).sum(1) / times
        found, error = [*found, difference], [*error, difference - expected]
    noise = (error[1] - error[0]).abs() + 4 * eps * value.double().abs()
    wrong = error[0].abs() > 0.05 * found[0].abs() + 10 * (noise + noise.nanmedian())
    return wrong.double().mean().item()


def _check_limits(flow: Flow, energy: Energy, x: Events, z: Events, gradient: Tensor) -> None:
    """Elements of unbounded support at which the gradient is zero in all draws change log p̃ at least far away."""
    free = ~gradient.any(0) & ~_bounded(flow, x)
    if not free.any():
        return
    near = energy(x)
    for temperature in WIDER:
        far = flow.decode(temperature * z, energy.context)
        if not torch.allclose(energy(torch.where(free & far.isfinite(), far, x)), near, rtol=1e-5):
            return
    where = "anything" if free.all() else f"element {free.flatten().nonzero()[0].item()} of an event"
    raise ValueError(
        f"log_density does not depend on {where}: its values are the same at draws near and far, so its integral is "
        f"infinite and it is no density. If that is meant, give limits by supports=(Interval(low, high), …). {ADVICE}"
    )


def _warn_of_units(x: Events, gradient: Tensor) -> None:
    """Warn where log p̃, of this gradient, changes very much, or hardly, over the spread of the flow's draws."""
    change = (gradient.double() * x.double().std(0, correction=0)).flatten(1).square().mean(1).sqrt()
    change = change.median().item()
    if change and not CHANGES[0] < change < CHANGES[1]:
        warnings.warn(
            f"log_density changes by {change:.2g} nats a feature over the spread of the flow's draws, too "
            f"{'much' if change > 1 else 'little'} to be learned in few steps: its units are others, or its mass is "
            "elsewhere. Call flow.initialize(rows) first, of rows about where the density is and as wide, in float64 "
            "where float32 does not hold them; or write it in units of order 1.",
            UserWarning,
            stacklevel=4,
        )


def _bounded(flow: Flow, x: Events) -> Tensor:
    """Whether each element of an event has a support of finite length, bool (*event)."""
    bounded = torch.zeros_like(x[0], dtype=torch.bool)
    if isinstance(flow.support, ProductSupport):
        for i, support in enumerate(flow.support.supports):
            bounded[i] = isinstance(support.constraint, constraints.interval | constraints.half_open_interval)
    return bounded

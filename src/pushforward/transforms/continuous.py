"""Continuous transforms: the flow of an ordinary differential equation.

    dx/dt = v(x, t),        x(0) is the latent z, x(1) is the data

    log p(x(1)) = log p(x(0)) − ∫₀¹ ∇·v(x(t), t) dt

Data are at time 1 and noise at time 0, as in Lipman et al. 2023 (flow matching), arXiv:2210.02747. Forward integrates
from 1 to 0, inverse from 0 to 1. Chen et al. 2018, arXiv:1806.07366; Grathwohl et al. 2019 (FFJORD), arXiv:1810.01367.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.conditions import Context, each
from pushforward.networks import GuidedVelocity, Rule, Velocity
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample
from pushforward.solve import Divergence, Dopri5, ExactDivergence, ODESolver
from pushforward.transform import Diagnosis, Guidable, Solving, twin

LEAST = 64  # evaluations on a fixed grid for a log-determinant


class Integrated(NamedTuple):
    """The end of a trajectory, integrals along it, and what the solver did in each row."""

    value: Events  # (batch, *event)
    log_det: PerSample  # log|det d value / d start|
    kinetic: PerSample  # ∫ |v|² |dt| / elements
    jacobian: PerSample | None  # ∫ |dv/dx|² |dt| / elements, or its estimate, where it was asked for
    evaluations: Tensor  # (batch,) int64, of the network
    accepted: Tensor  # steps
    refused: Tensor


class Continuous(Solving, Guidable):
    """The flow of the velocity `net` from time 1, data, to time 0, latents.

    `solve` solves the differential equation in both directions, and `divergence` says how the log-determinant is
    computed. A log-determinant on a fixed grid of few steps would be wrong by any amount, and mostly in the flow's
    favour: below 64 evaluations it is refused. `encode` and `decode` need no log-determinant and take any grid.

    >>> from pushforward.networks import VelocityMLP
    >>> z, log_det = Continuous(VelocityMLP(2))(torch.ones(5, 2))
    >>> z.shape, log_det.shape
    (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, net: Velocity, *, solve: ODESolver = Dopri5(), divergence: Divergence = ExactDivergence()):
        super().__init__()
        self.net, self.solve, self.divergence = net, solve, divergence

    @property
    def exact(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.divergence.exact

    def accepts(self, solve: object) -> bool:
        return isinstance(solve, ODESolver | Divergence)

    def solved_by(self, solve: ODESolver | Divergence) -> Continuous:
        return twin(self, divergence=solve) if isinstance(solve, Divergence) else twin(self, solve=solve)

    def guided(self, rule: Rule, null: tuple[str, ...] | Context, attention_temperature: float) -> Continuous:
        """The flow of the guided velocity, solved alike."""
        if attention_temperature != 1 or not rule.plain:
            raise ValueError(
                "a velocity is guided by one weight, away from its null context; leave out rule= and "
                "attention_temperature=."
            )
        return twin(self, _modules={**self._modules, "net": GuidedVelocity(self.net, rule.weight, conditions=null)})

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._scored(x, context, 1.0, 0.0)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._scored(z, context, 0.0, 1.0)

    def encode(self, x: Events, context: Context | None = None) -> Events:
        return self.moved(x, context, start=1.0, stop=0.0)

    def decode(self, z: Events, context: Context | None = None) -> Events:
        return self.moved(z, context, start=0.0, stop=1.0)

    def moved(self, x: Events, context: Context | None = None, *, start: float, stop: float) -> Events:
        """The events at time `stop` of those that are x at time `start`, without a log-determinant."""
        y, eps = self._state(x)
        field = _Field(self.net, context, x.shape[1:], eps)
        return self.solve.integrate(field, y, start, stop).y.reshape(x.shape)

    def integrate(
        self,
        x: Events,
        context: Context | None = None,
        *,
        start: float = 1.0,
        stop: float = 0.0,
        jacobian: bool = False,
        generator: Source = None,
    ) -> Integrated:
        """The events at time `stop` of those that are x at time `start`, and integrals along their trajectories.

        The errors of `kinetic` and `jacobian` are not controlled; `jacobian` takes products J ε even where the
        divergence has a closed form. `generator` draws the probes of an estimate. Solvers of few steps are taken too.
        """
        y, eps = self._state(x)
        elements, integrals = y.shape[1], 3 if jacobian else 2
        probes = self.divergence.probes(y.reshape(x.shape), generator)
        field = _Field(self.net, context, x.shape[1:], eps, self.divergence, probes, jacobian)
        y = torch.cat([y, y.new_zeros(y.shape[0], integrals)], 1)
        end, *counts = self.solve.integrate(field, y, start, stop, controlled=(elements, 1))
        log_det, kinetic, *norm = end[:, elements:].unbind(1)
        sign = 1.0 if stop >= start else -1.0
        norm = sign * norm[0] if jacobian else None
        return Integrated(end[:, :elements].reshape(x.shape), log_det, sign * kinetic, norm, *counts)

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis:
        found = self.integrate(x, context)
        return Diagnosis("Continuous", found.log_det, evaluations=found.evaluations, refused=found.refused)

    def extra_repr(self) -> str:
        return f"solve={self.solve}, divergence={self.divergence}"

    def _scored(self, x: Events, context: Context | None, start: float, stop: float) -> tuple[Events, PerSample]:
        if self.solve.least_evaluations < LEAST:
            raise ValueError(
                f"{self.solve} evaluates the velocity {self.solve.least_evaluations:g} times, too few for a log-det, "
                f"which a coarse grid may get wrong by any amount. Take at least {LEAST} evaluations, or a solver that "
                "controls its error: flow.solved_by(pf.solve.Dopri5())."
            )
        found = self.integrate(x, context, start=start, stop=stop)
        return found.value, found.log_det

    def _state(self, x: Events) -> tuple[Tensor, float]:
        """x as (batch, elements), in at least float32 and the network's dtype; and the rounding of the narrowest."""
        tensors = chain([x], self.net.parameters(), self.net.buffers())
        dtypes = [t.dtype for t in tensors if t.is_floating_point()]
        wide = reduce(torch.promote_types, dtypes, torch.float32)
        return x.to(wide).flatten(1), max(torch.finfo(dtype).eps for dtype in dtypes)


class _Field:
    """dy/dt as a field of `pushforward.solve`: y has the elements of an event, then integrals along its trajectory."""

    def __init__(
        self,
        net: Velocity,
        context: Context | None,
        event: Sequence[int],
        eps: float,
        divergence: Divergence | None = None,  # None: no integrals
        probes: Tensor | None = None,
        jacobian: bool = False,
    ):
        self.net, self.context, self.event, self.eps = net, context or {}, event, eps
        self.divergence, self.probes, self.jacobian = divergence, probes, jacobian
        given = (t for condition in self.context.values() for t in condition if t is not None)
        self.tensors = [*net.parameters(), *(t for t in given if t.requires_grad)]

    def of(self, rows: Tensor) -> _Field:
        context = each(self.context, lambda t: t[rows])
        probes = None if self.probes is None else self.probes[rows]
        return _Field(self.net, context, self.event, self.eps, self.divergence, probes, self.jacobian)

    def jump(self, start: PerSample, stop: PerSample, y: Tensor) -> Tensor | None:
        """The end of a jump of the network's flow map; None where it has none, or where integrals are wanted."""
        moved = (
            self.net.jump(y.reshape(-1, *self.event), start, stop, self.context) if self.divergence is None else None
        )
        return None if moved is None else moved.to(y.dtype).flatten(1)

    def __call__(self, t: PerSample, y: Tensor) -> Tensor:
        x = y[:, : math.prod(self.event)].reshape(-1, *self.event)
        if self.divergence is None:
            return self.net(x, t, self.context).to(y.dtype).flatten(1)
        if self.jacobian:
            v, *rates = self.divergence.pushed(self.net, x, t, self.context, self.probes)
        else:
            v, *rates = self.divergence(self.net, x, t, self.context, self.probes)
        v = v.to(y.dtype).flatten(1)
        divergence, *norm = (rate.to(y.dtype) for rate in rates)
        integrands = [divergence, v.square().mean(1), *(n / v.shape[1] for n in norm)]
        return torch.cat([v, torch.stack(integrands, 1)], 1)

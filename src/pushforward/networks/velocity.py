"""Velocity networks: how fast an event of a continuous flow moves, and where to, at a time.

v(x, t; context): events (batch, *event) and times (batch,), 0 … 1 -> velocities (batch, *event)

A network with `times=2` is told two, (batch, 2): that of a `FlowMapNet`.
"""

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.networks.guided import with_null
from pushforward.networks.mlp import widths
from pushforward.plain import computes_in, is_plain, is_unchanged
from pushforward.shapes import Events, PerSample, without_autocast

WAVES = 4  # cosines of the time, of periods 2, 1, 2/3, …, the faster ones the smaller: solvers can take long steps


class Velocity(nn.Module, ABC):
    """The contract of a velocity network.

    Divergences differentiate it in forward mode, and training then in reverse. Not every function of torch can:
    `F.layer_norm` gives wrong gradients without an error, and fused attention raises (torch 2.13).
    """

    context_encoder: nn.Module | None  # context -> (batch, width)

    @abstractmethod
    def forward(self, x: Events, t: PerSample, context: Context | None = None) -> Events: ...

    def with_divergence(
        self, x: Events, t: PerSample, context: Context | None = None
    ) -> tuple[Events, PerSample] | None:
        """v, and its divergence in closed form; None where the network has none."""
        return None

    def jump(self, x: Events, start: PerSample, stop: PerSample, context: Context | None = None) -> Events | None:
        """Where events at times `start` are at times `stop`, in one pass; None where the network has no flow map."""
        return None


def waves(t: Tensor) -> Tensor:
    """cos(π k t) / k for k = 1 … 4, of one time (batch,) -> (batch, 4) or several (batch, n) -> (batch, 4 n)."""
    k = torch.arange(1, WAVES + 1, dtype=t.dtype, device=t.device)
    return (torch.cos(math.pi * t[..., None] * k) / k).flatten(1)


class VelocityMLP(Velocity):
    """A multi-layer perceptron that is told the time in every layer: (batch, features) -> the same.

        u_1 = W_1 x + T_1 w(t) + c              w(t) are `waves`, c is the encoded context, or absent
        u_k = W_k s(u_{k−1}) + T_k w(t)         s is swish; plus u_{k−2} in a residual network, for k = 3, 5, …
        v   = W s(u_last)                       zero at the start

    With a `frequency` the first s is the sine, and the elements of W_1 start normal with that standard deviation, in
    radians per unit of x: a velocity that changes over a short distance is learned in fewer steps. The features are
    those of Tancik et al. 2020, arXiv:2006.10739, learned as in Sitzmann et al. 2020 (SIREN), arXiv:2006.09661.

    Biases are not written here. With D_k the diagonal matrix of the slopes s'(u_k), the divergence of one or two hidden
    layers is

        tr(W D_1 W_1) = Σ_i D_1,ii (W_1 W)_ii        tr(W D_2 W_2 D_1 W_1) = Σ_ij D_2,ii (W_2)_ij D_1,jj (W_1 W)_ji

    at the cost of one more product by a matrix of W_2's shape, however many features there are.

    >>> net = VelocityMLP(3, hidden=(64, 64))
    >>> net(torch.zeros(7, 3), torch.linspace(0, 1, 7)).shape
    torch.Size([7, 3])
    """

    def __init__(
        self,
        features: int,
        *,
        hidden: tuple[int, ...] = (128, 128),
        residual: bool = False,
        frequency: float | None = None,
        times: int = 1,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.residual, self.frequency, self.context_encoder = residual, frequency, context_encoder
        self.sizes = widths(hidden, residual)
        self.maps = nn.ModuleList(nn.Linear(*size) for size in pairwise((features, *self.sizes)))
        self.times = nn.Linear(times * WAVES, sum(self.sizes), bias=False)
        self.answer = zeroed(nn.Linear(self.sizes[-1], features))
        if frequency is not None:
            nn.init.normal_(self.maps[0].weight, std=frequency)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(self.maps[0].bias, -math.pi, math.pi)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Events, t: PerSample, context: Context | None = None) -> Events:
        return self.answer(self._activated(self._hidden(x, t, context)))

    def with_divergence(
        self, x: Events, t: PerSample, context: Context | None = None
    ) -> tuple[Events, PerSample] | None:
        if self.residual or len(self.maps) > 2 or not self._is_plain():
            return None
        with without_autocast(x):
            u = self._hidden(x, t, context)
            slopes = [u[0].cos() if self.frequency is not None else _slope(u[0]), *map(_slope, u[1:])]
            first, last = self.maps[0].weight, self.answer.weight
            if len(u) == 1:
                divergence = slopes[0] @ (first * last.T).sum(1)  # pyright: ignore
            else:
                between = self.maps[1].weight * (first @ last).T  # pyright: ignore
                divergence = ((slopes[0] @ between.T) * slopes[1]).sum(1)
            return self.answer(self._activated(u)), divergence

    def _hidden(self, x: Events, t: PerSample, context: Context | None) -> list[Tensor]:
        """u_1, u_2, … (batch, width) each."""
        dtype = computes_in(self.answer)
        times = self.times(waves(t).to(dtype)).split(self.sizes, 1)
        added = times[0] if self.context_encoder is None else times[0] + self.context_encoder(context)
        u = [self.maps[0](x.to(dtype)) + added]
        for k in range(1, len(self.maps)):
            v = self.maps[k](self._activated(u)) + times[k]
            u.append(v + u[-2] if self.residual and k % 2 == 0 else v)
        return u

    def _activated(self, u: list[Tensor]) -> Tensor:
        """s of the last."""
        return u[0].sin() if len(u) == 1 and self.frequency is not None else F.silu(u[-1])

    def _is_plain(self) -> bool:
        """Whether its weights may be read: where they are hooked, wrapped or replaced, layers are called instead."""
        return is_unchanged(self, VelocityMLP) and all(
            is_plain(layer, nn.Linear) for layer in (*self.maps, self.answer)
        )

    def extra_repr(self) -> str:
        return f"residual={self.residual}, frequency={self.frequency}"


def _slope(u: Tensor) -> Tensor:
    """The derivative of swish."""
    s = u.sigmoid()
    return torch.addcmul(s, u * s, 1 - s)


class GuidedVelocity(Velocity):
    """v + weight · (v − v_null), where v_null is the velocity with the named conditions null, or all where none are, or
    with those of another context.

    The flow of this velocity is a continuous flow like any other. Ho & Salimans 2022, arXiv:2207.12598.
    """

    def __init__(self, net: Velocity, weight: float, *, conditions: tuple[str, ...] | Context = ()):
        super().__init__()
        self.net, self.weight, self.conditions = net, weight, conditions

    def forward(self, x: Events, t: PerSample, context: Context | None = None) -> Events:
        return self._combined(self.net(torch.cat([x, x]), torch.cat([t, t]), self._both(context)))

    def with_divergence(
        self, x: Events, t: PerSample, context: Context | None = None
    ) -> tuple[Events, PerSample] | None:
        both = self.net.with_divergence(torch.cat([x, x]), torch.cat([t, t]), self._both(context))
        return both and (self._combined(both[0]), self._combined(both[1]))

    def _both(self, context: Context | None) -> Context | None:
        return with_null(context, self.conditions)

    def _combined(self, both: Tensor) -> Tensor:
        conditional, null = both.chunk(2)
        return conditional + self.weight * (conditional - null)

    def extra_repr(self) -> str:
        return f"weight={self.weight:g}, conditions={self.conditions}"

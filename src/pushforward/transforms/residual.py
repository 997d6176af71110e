"""Invertible residual blocks: every feature may depend on every other, if the residual branch is a contraction.

    z = x + g(x),        |g(x) − g(y)| ≤ c |x − y|,  c < 1

The inverse is the fixed point of x <- z − g(x). By Banach's theorem there is exactly one, and after k iterations the
error is at most c^k / (1 − c) times the first change. One Newton step at the fixed point has the gradients of the
inverse, and a second step its second derivatives. With J = dg/dx,

    log|det dz/dx| = log det (1 + J) = Σ_{k ≥ 1} (−1)^{k+1} tr(J^k) / k

Behrmann et al. 2019 (i-ResNet), arXiv:1811.00995; Chen et al. 2019 (Residual Flow), arXiv:1906.02735.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch._higher_order_ops import while_loop

from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.networks import ContractiveMLP, Push
from pushforward.randomness import draw, keyed
from pushforward.recording import differentiable, hidden
from pushforward.shapes import Events, PerSample, at_least_float32
from pushforward.transform import Transform


class LogDet(Protocol):
    """Computes log det (1 + J), (batch,), from the function v -> J v, v (batch, features, n), and x (batch, features).

    `exact` is False where the result is an estimate.
    """

    exact: ClassVar[bool]

    def __call__(self, push: Push, x: Events) -> PerSample: ...


@dataclass(frozen=True)
class Exact:
    """Computes the whole Jacobian, from as many tangents as features, and its determinant, at a cost of features³."""

    exact: ClassVar[bool] = True

    def __call__(self, push: Push, x: Events) -> PerSample:
        return torch.linalg.slogdet(_one_plus(push, x)).logabsdet


@dataclass(frozen=True)
class Roulette:
    """An unbiased estimate: the series with Hutchinson's estimates of the traces, cut off at random (Russian roulette).

    The first `always` terms are always computed. Each further term is computed with probability `going_on` if the one
    before it was, and is divided by its probability. With a seed every call draws the same numbers; None draws from
    torch's default generator. Chen et al. 2019, arXiv:1906.02735, section 3.1.
    """

    exact: ClassVar[bool] = False

    always: int = 4
    going_on: float = 0.5
    seed: int | None = None

    def __post_init__(self):
        check_number(self.always, "always, a number of terms,", least=0)
        check_number(self.going_on, "going_on, a probability,", above=0, below=1)

    def __call__(self, push: Push, x: Events) -> PerSample:
        source = None if self.seed is None else keyed(self.seed)
        v = draw(torch.randn, x.shape, x, source)[..., None]
        u = torch.rand((), generator=source, dtype=torch.float64, device="cpu").item()
        further = int(math.log(1 - u) / math.log(self.going_on))  # geometric: k or more with probability going_on^k
        total, w = torch.zeros_like(v[:, 0, 0]), v
        for k in range(1, self.always + further + 1):
            w = push(w)
            weight = self.going_on ** -max(k - self.always, 0)
            total = total - (-1) ** k * weight / k * (w * v).sum((1, 2))
        return total


class Residual(Transform):
    """z = x + net(x), for a contractive network. The inverse iterates until x changes by rounding alone.

    >>> block = Residual(ContractiveMLP(3))
    >>> x = torch.randn(5, 3)
    >>> torch.testing.assert_close(block.inverse(block(x)[0])[0], x)
    """

    def __init__(self, net: ContractiveMLP, *, log_det: LogDet = Exact()):
        super().__init__()
        self.net, self.log_det = net, log_det

    @property
    def exact(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.log_det.exact

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x = at_least_float32(x)
        moved, push = self.net.linearised(x, context)
        z = x + moved
        return z, self.log_det(push, x).to(z.dtype)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        z = at_least_float32(z)
        x = self._fixed_point(z, context)
        slope = _one_plus(self.net.linearised(x, context)[1], x).detach()
        for _ in range(2 if differentiable() else 1):
            x = x - torch.linalg.solve(slope, (x + self.net(x, context) - z)[..., None])[..., 0]
        return x, -self.log_det(self.net.linearised(x, context)[1], x).to(x.dtype)

    @torch.no_grad()
    def _fixed_point(self, z: Events, context: Context | None) -> Events:
        """Compilers see the loop. Where values are hidden it has as many iterations as any rows could need."""
        rounding = 4 * torch.finfo(z.dtype).eps
        most = math.ceil(math.log(rounding) / math.log(self.net.limit))

        def going_on(x: Tensor, before: Tensor, count: Tensor) -> Tensor:
            return ((x - before).abs() > rounding * (1 + x.abs())).any() & (count < most)

        def step(x: Tensor, _: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return z - self.net(x, context), x.clone(), count + 1

        state = z - self.net(z, context), z.clone(), torch.ones((), dtype=torch.int64, device=z.device)
        if torch.compiler.is_compiling():
            return while_loop(going_on, step, state)[0]
        for _ in range(1, most):
            if not hidden() and not going_on(*state):
                break
            state = step(*state)
        return state[0]

    def extra_repr(self) -> str:
        return f"log_det={self.log_det}"


def _one_plus(push: Push, x: Events) -> Tensor:
    """1 + J of each row, (batch, features, features)."""
    one = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return one + push(one.expand(x.shape[0], -1, -1))

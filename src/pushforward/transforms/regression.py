"""Features less a linear function of the vector that they are conditioned on, which starts as their regression on it.

    z = (x − weight u) · exp(−log_scale)            u is the condition, standardised

`Flow.initialize` sets weight and scale from data; until then this is the identity. Then they are learned. Where the
condition is null nothing is subtracted. Each feature starts with the ridge regression whose leave-one-out residuals e
are the smallest, among penalties λ from none to infinite; exp(log_scale) is their root mean square:

    e = (x − ŷ) / (1 − h)        ŷ = H x, h = diag H, H = U (UᵀU + n λ)⁻¹ Uᵀ

so many conditions for few rows do no harm. Where x is Gaussian with a mean that is linear in the condition, z is
standard normal. Golub, Heath & Wahba 1979, Technometrics 21:215 (leave-one-out).
"""

import torch
from torch import Tensor, nn

from pushforward.conditions import Context, find
from pushforward.networks import Units
from pushforward.shapes import Events, PerSample, at_least_float32, without_autocast
from pushforward.transform import Triangular, summed

PENALTIES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, float("inf"))  # λ
NARROWEST = 2e-3  # of a deviation: float32 does not resolve the residuals of standardised features below it


class Regression(Triangular):
    """The formula above, for features of mean 0 and deviation 1: after an `ActNorm`. `name` names the condition.

    The regression is computed in float64, from the rows whose condition is not null.

    >>> u = torch.linspace(-3, 3, 50)[:, None]
    >>> regression, vector = Regression(1, 1), pf.conditions.Vector(1)
    >>> flow = pf.Flow(regression, pf.bases.StandardNormal(1), event=(1,), conditions={"vector": vector})
    >>> flow.initialize(0.5 * u + 0.1 * torch.randn(50, 1), u)
    >>> 0.4 < regression.weight.item() / u.std() < 0.6, 0.08 < regression.log_scale.exp().item() < 0.12
    (tensor(True), True)
    """

    causal = True

    def __init__(self, features: int, condition: int, *, name: str = "vector"):
        super().__init__()
        self.name, self.units = name, Units(condition)
        self.weight = nn.Parameter(torch.zeros(features, condition))
        self.log_scale = nn.Parameter(torch.zeros(features))

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        z = (at_least_float32(x) - self._mean(context)) * torch.exp(-self.log_scale)
        return z, (-self.log_scale).expand(z.shape)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x = at_least_float32(z) * torch.exp(self.log_scale) + self._mean(context)
        return summed(x, self.log_scale.expand(x.shape))

    @torch.no_grad()
    def initialize_from(self, x: Events, context: Context | None = None) -> None:
        """Set weight and scale from a batch. Called by `Flow.initialize` alone."""
        condition = find(context, self.name)
        known = ~condition.null
        self.weight.zero_()
        self.log_scale.zero_()
        if not known.any():
            return
        u, x = self.units(condition)[known].double(), x[known].double()
        values, vectors = torch.linalg.eigh(u.T @ u / len(u))
        along = u @ vectors
        weights, errors = [], []
        for penalty in PENALTIES:
            shrunk = torch.where(values > 1e-9, 1 / (values + penalty), 0.0) / len(u)
            found = vectors @ (shrunk[:, None] * (along.T @ x))
            room = 1 - 1 / len(u) - (along.square() * shrunk).sum(1, keepdim=True)  # 1 − h, with that of the mean
            weights.append(found.T)
            errors.append(torch.where(room > 1e-9, (x - u @ found) / room, torch.inf).square().mean(0))
        least, best = torch.stack(errors).min(0)
        self.weight.copy_(torch.stack(weights)[best, torch.arange(len(best), device=best.device)])
        varies = (least > 0) & least.isfinite()
        self.log_scale.copy_(torch.where(varies, least.sqrt().clamp(min=NARROWEST), 1.0).log())

    def _mean(self, context: Context | None) -> Tensor:
        condition = find(context, self.name)
        u = self.units(condition).to(self.weight.dtype).masked_fill(condition.null[:, None], 0)
        with without_autocast(u):
            return u @ self.weight.T

    def extra_repr(self) -> str:
        return f"{len(self.weight)}"

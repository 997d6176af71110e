"""A perceptron that brings points closer: |g(x) − g(y)| ≤ limit · |x − y|, with limit < 1.

A composition's Lipschitz constant is at most the product of its parts'. The activation is swish / 1.1, whose slope
never exceeds 1, and each of the L weight matrices is scaled down to a norm of limit^(1/L), where

    ‖W‖ ≤ (tr (Wᵀ W)^32)^(1/64) ≤ n^(1/64) · ‖W‖

bounds its spectral norm from above, by 8 % at most for n = 128. Power iteration, the usual method, approaches it from
below and keeps a vector between calls. Chen et al. 2019 (Residual Flow), arXiv:1906.02735, for the activation.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.shapes import at_least_float32, without_autocast

SQUARINGS = 5  # 2^5 = 32

Push = Callable[[Tensor], Tensor]  # tangents v (batch, features, n) -> J v, for the Jacobian J of each row


class ContractiveMLP(nn.Module):
    """(batch, features) -> the same, in at least float32.

    `context_encoder` turns the context into a vector of the first width.

    >>> net = ContractiveMLP(3, limit=0.5)
    >>> x, y = torch.randn(2, 100, 3)
    >>> bool(((net(x) - net(y)).norm(dim=1) <= 0.5 * (x - y).norm(dim=1)).all())
    True
    """

    def __init__(
        self,
        features: int,
        *,
        hidden: tuple[int, ...] = (128, 128),
        limit: float = 0.9,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        check_number(limit, "limit, the Lipschitz constant of a contraction,", above=0, below=1)
        self.limit, self.context_encoder = limit, context_encoder
        sizes = [*pairwise((features, *hidden, features))]
        self.maps = nn.ModuleList(BoundedLinear(*size, limit=limit ** (1 / len(sizes))) for size in sizes)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        return self.linearised(x, context)[0]

    def linearised(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, Push]:
        """g(x), and the function v -> J v for its Jacobian J at x."""
        weights, slopes, v = [], [], x
        with without_autocast(x):
            for k, layer in enumerate(self.maps):
                if k:
                    sigmoid = v.sigmoid()
                    slopes.append((sigmoid * (1 + v * (1 - sigmoid)) / 1.1)[..., None])
                    v = v * sigmoid / 1.1
                v, weight = layer(v)
                weights.append(weight)
                if k == 0 and self.context_encoder is not None:
                    v = v + at_least_float32(self.context_encoder(context))

        def push(tangents: Tensor) -> Tensor:
            tangents = tangents.to(weights[0])
            with without_autocast(tangents):
                for k, weight in enumerate(weights):
                    tangents = weight @ (slopes[k - 1] * tangents if k else tangents)
            return tangents

        return v, push


class BoundedLinear(nn.Module):
    """v -> W v + bias, and W: the weight, scaled down to a norm of `limit` where it is above. In at least float32."""

    def __init__(self, inputs: int, outputs: int, *, limit: float):
        super().__init__()
        linear = nn.Linear(inputs, outputs)
        self.limit, self.weight, self.bias = limit, linear.weight, linear.bias

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        weight = at_least_float32(self.weight)
        weight = weight * (self.limit / norm_bound(weight).clamp(min=self.limit))
        return v.to(weight) @ weight.T + at_least_float32(self.bias), weight

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, limit={self.limit:.3g}"


def norm_bound(weight: Tensor) -> Tensor:
    """(tr (Wᵀ W)^32)^(1/64): at least the spectral norm of W. Differentiable."""
    tiny = torch.finfo(weight.dtype).tiny
    with without_autocast(weight):
        smaller = "ik,jk->ij" if weight.shape[0] < weight.shape[1] else "ki,kj->ij"
        power = torch.einsum(smaller, weight, weight)  # exported loops refuse a view of a weight, such as weight.T
        log_norm = 0.0
        for k in range(SQUARINGS):
            size = power.norm().clamp(min=tiny)  # powers are kept near 1, or they would underflow
            log_norm = log_norm + size.log() / 2**k
            power = (power / size) @ (power / size)
    return torch.exp(0.5 * (log_norm + power.trace().clamp(min=tiny).log() / 2**SQUARINGS))

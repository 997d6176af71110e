"""Learned linear maps of a vector, or of the channels at each place of an image.

    z = W x,  log|det dz/dx| = places · log|det W|

They mix all features between couplings or autoregressive transforms: a learned generalisation of a permutation, and for
images an invertible 1 × 1 convolution. W is any matrix, or a product of factors with a cheap determinant and inverse.
Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039, section 3.2; Durkan et al. 2019 (NSF), arXiv:1906.04032.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward.computed import Computed
from pushforward.conditions import Context
from pushforward.randomness import keyed, normal
from pushforward.shapes import Events, PerSample, at_least_float32, without_autocast
from pushforward.transform import Diagnosis, Transform


class Linear(Transform):
    """A transform that multiplies a vector, or the channels at each place, by a matrix.

    It computes in promote_types(input dtype, weight dtype, float32).
    """

    @abstractmethod
    def matrix(self) -> Tensor:
        """W, (features, features), or (groups, features, features), in at least float32."""

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis:
        singular_values = torch.linalg.svdvals(self.matrix())
        condition = (singular_values.max() / singular_values.min()).item()
        return Diagnosis(type(self).__name__, singular_values.log(), condition)


class Matrix(Linear):
    """All entries of W are learned. Its determinant and its inverse cost features³.

    W starts as `start`, of shape (features, features); of shape (groups, features, features), it mixes the features
    inside each group. `rotation(features)` is a usual start: it mixes all features and has a log-determinant of zero.
    The weight has the default dtype and device, not those of `start`.

    >>> z, log_det = Matrix(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))(torch.tensor([[3.0, 4.0]]))
    >>> z.tolist(), log_det.item()
    ([[8.0, 3.0]], 0.6931471824645996)
    """

    def __init__(self, start: Tensor):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(start.shape).copy_(start))

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        weight = _widened(self.weight, x)
        return _mixed(weight, x), _everywhere(torch.linalg.slogdet(weight).logabsdet.sum(), x)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        weight = _widened(self.weight, z)
        x = _by_columns(lambda columns: torch.linalg.solve(weight, columns), z, weight)
        return x, _everywhere(-torch.linalg.slogdet(weight).logabsdet.sum(), z)

    def matrix(self) -> Tensor:
        return at_least_float32(self.weight)

    def extra_repr(self) -> str:
        return " × ".join(map(str, self.weight.shape))


class LU(Linear, Computed):
    """W = P L U, where L has ones on its diagonal and U has sign · exp(d) for the diagonal d of `factors`.

        log|det W| = Σ d

    `factors` (features, features) holds both triangles, and is learned. Without a seed P = 1 and W starts as the
    identity, and cannot learn to permute features: put a `Permutation` before it. With a seed W starts as the random
    rotation of that seed. P and the signs are constant, and not in the state dict.

    >>> z, log_det = LU(3)(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> z.tolist(), log_det.item()
    ([[1.0, 2.0, 3.0]], 0.0)
    """

    order: Tensor
    sign: Tensor

    def __init__(self, features: int, *, seed: int | None = None):
        super().__init__()
        self.seed = seed
        self.factors = nn.Parameter(torch.zeros(features, features))
        self.register_buffer("order", torch.empty(features, dtype=torch.long), persistent=False)
        self.register_buffer("sign", torch.empty(features), persistent=False)
        self.reset()
        if seed is not None:
            _, lower, upper = torch.linalg.lu(_drawn(features, seed))
            start = lower.tril(-1) + upper.triu(1) + upper.diagonal().abs().log().diag()
            with torch.no_grad():
                self.factors.copy_(start)

    def reset(self) -> None:
        """Set P and the signs, which the state dict leaves out."""
        order, sign = torch.arange(len(self.factors), device="cpu"), torch.ones(len(self.factors), device="cpu")
        if self.seed is not None:
            permutation, _, upper = torch.linalg.lu(_drawn(len(self.factors), self.seed))
            order, sign = permutation.argmax(1), upper.diagonal().sign()
        self.order.copy_(order)
        self.sign.copy_(sign)

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        lower, upper, log_det = self._triangles(x)
        if torch.compiler.is_compiling() or x.numel() >= upper.numel():  # a compiler asks no sizes
            return _mixed(self._product(lower, upper), x), _everywhere(log_det, x)

        def factored(columns: Tensor) -> Tensor:  # fewer columns than features: the product would cost features³
            columns = upper @ columns
            return torch.addmm(columns, lower, columns).index_select(0, self.order)

        return _by_columns(factored, x, upper), _everywhere(log_det, x)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        lower, upper, log_det = self._triangles(z)

        def solved(columns: Tensor) -> Tensor:
            columns = columns[self.order.argsort()]
            columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
            return torch.linalg.solve_triangular(upper, columns, upper=True)

        return _by_columns(solved, z, lower), _everywhere(-log_det, z)

    def matrix(self) -> Tensor:
        lower, upper, _ = self._triangles(self.factors)
        return self._product(lower, upper)

    def extra_repr(self) -> str:
        return f"{len(self.factors)}"

    def _product(self, lower: Tensor, upper: Tensor) -> Tensor:
        with without_autocast(lower):
            return torch.addmm(upper, lower, upper).index_select(0, self.order)

    def _triangles(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L without the ones on its diagonal, U, and log|det W|, in the precision of `_widened`."""
        factors = _widened(self.factors, x)
        diagonal = factors.diagonal()
        upper = factors.triu(1) + torch.diag(self.sign.to(factors) * diagonal.exp())
        return factors.tril(-1), upper, diagonal.sum()


class Rotation(Linear):
    """W = exp(A − Aᵀ): any rotation. Its inverse is its transpose, and its log-determinant is zero.

    `generator` (features, features) is A. Its entries start as draws of N(0, 1), so the rotation mixes all features.

    >>> rotation = Rotation(2)
    >>> z, log_det = rotation(torch.tensor([[3.0, 4.0]]))
    >>> torch.testing.assert_close(z.norm(), torch.tensor(5.0))
    """

    def __init__(self, features: int):
        super().__init__()
        self.generator = nn.Parameter(normal(1, features, features))

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        rotation = self._rotation(x)
        return _mixed(rotation, x), _everywhere(rotation.new_zeros(()), x)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        rotation = self._rotation(z)
        return _mixed(rotation.T, z), _everywhere(rotation.new_zeros(()), z)

    def matrix(self) -> Tensor:
        return self._rotation(self.generator)

    def extra_repr(self) -> str:
        return f"{len(self.generator)}"

    def _rotation(self, x: Tensor) -> Tensor:
        generator = _widened(self.generator, x)
        return torch.linalg.matrix_exp(generator - generator.T)


def rotation(features: int, seed: int | None = None) -> Tensor:
    """A uniformly distributed orthogonal matrix (features, features), of the default dtype and device.

    The same seed gives the same matrix to rounding; None draws from torch's default generator.
    """
    return torch.empty(features, features).copy_(_drawn(features, seed))


def _drawn(features: int, seed: int | None) -> Tensor:
    """The matrix of `rotation`, in float64 on the CPU."""
    generator = None if seed is None else keyed(seed)
    q, r = torch.linalg.qr(torch.randn(features, features, dtype=torch.float64, device="cpu", generator=generator))
    return q * r.diagonal().sign()


def _widened(weight: Tensor, x: Tensor) -> Tensor:
    """The weight in promote_types(its dtype, x's dtype, float32)."""
    return at_least_float32(weight.to(torch.promote_types(weight.dtype, x.dtype)))


def _mixed(weight: Tensor, x: Events) -> Events:
    """A vector, or the channels at each place, times `weight` (features, features), or (groups, features, features)."""
    return _by_columns(lambda columns: weight @ columns, x, weight)


def _by_columns(change: Callable[[Tensor], Tensor], x: Events, weight: Tensor) -> Events:
    """Apply `change` to x as columns, (features, n) or (groups, features, n): a column for each place of each event.

    It computes in the dtype of `weight`, under autocast too.
    """
    features_first = x.to(weight.dtype).transpose(0, 1)
    with without_autocast(x):
        return change(features_first.reshape(*weight.shape[:-1], -1)).reshape(features_first.shape).transpose(0, 1)


def _everywhere(log_det: Tensor, x: Events) -> PerSample:
    """The log-determinant at one place -> that of the events, (batch,)."""
    return (x.shape[2:].numel() * log_det).expand(x.shape[0])

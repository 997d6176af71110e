"""The moves of nflows, with the parametrisation of nflows."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.moves import Elementwise
from pushforward.moves.spline import Knots, by_knots
from pushforward.shapes import at_least_float32


class ScaleShiftParams(NamedTuple):
    """x is multiplied by `scale`, which is positive, and `shift` is added; each of x's shape."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class ScaleShift(Elementwise):
    """z = scale · x + shift, log-slope log(scale); scale = softplus(raw[..., 0]) + least, shift = raw[..., 1].

    `Affine` divides by its scale, after it has subtracted its shift; here z is scaled and shifted. Zero raw parameters
    are not the identity: they multiply by log 2 + least. The move of `MaskedAffineAutoregressiveTransform`.

    >>> move = ScaleShift(least=0.0)
    >>> move.forward(torch.tensor(2.0), torch.tensor([50.0, 1.0]))[0]
    tensor(101.)
    """

    least: float = 1e-3

    @property
    def params_per_element(self) -> int:
        return 2

    def params(self, raw: Tensor) -> ScaleShiftParams:
        scale, shift = at_least_float32(raw).unbind(-1)
        return ScaleShiftParams(F.softplus(scale) + self.least, shift)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.params(raw)
        return x * scale + shift, scale.log()

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.params(raw)
        return (y - shift) / scale, -scale.log()


@dataclass(frozen=True)
class SoftmaxSpline(Elementwise):
    """A rational-quadratic spline on [−bound, bound], whose bins are a softmax; the identity outside.

    raw holds the logits of `bins` widths and of `bins` heights, and bins − 1 raw slopes at the inner knots.

        width = 2 · bound · (least_width + (1 − bins · least_width) · softmax(divided logits)),   heights alike
        slope = least_slope + softplus(raw)

    Logits are divided by `divisor` first. Zero raw parameters are not the identity: their inner slopes are
    log 2 + least_slope. The move of `PiecewiseRationalQuadraticCouplingTransform` and of
    `MaskedPiecewiseRationalQuadraticAutoregressiveTransform` with linear tails. Durkan et al. 2019, arXiv:1906.04032.

    >>> move = SoftmaxSpline(bins=2, bound=1.0, least_slope=0.0)
    >>> move.forward(torch.tensor([0.0, 2.0]), torch.zeros(2, 5))[0]
    tensor([0., 2.])
    """

    bins: int
    bound: float
    divisor: float = 1.0
    least_width: float = 1e-3
    least_height: float = 1e-3
    least_slope: float = 1e-3

    @property
    def params_per_element(self) -> int:
        return 3 * self.bins - 1

    def params(self, raw: Tensor) -> Knots:
        widths, heights, slopes = at_least_float32(raw).split((self.bins, self.bins, self.bins - 1), -1)
        inner = self.least_slope + F.softplus(slopes)
        return Knots(
            self._places(widths, self.least_width),
            self._places(heights, self.least_height),
            F.pad(inner, (1, 1), value=1),
        )

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return by_knots(x, self.params(raw), self.bound, inverse=False)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return by_knots(y, self.params(raw), self.bound, inverse=True)

    def _places(self, logits: Tensor, least: float) -> Tensor:
        """The knots of the bins with these logits, (*, bins + 1)."""
        logits = logits / self.divisor
        weights = (
            logits - logits.detach().amax(-1, keepdim=True)
        ).exp()  # torch 2.13 compiles softmax's gradient wrongly
        shares = least + (1 - self.bins * least) * weights / weights.sum(-1, keepdim=True)
        inner = 2 * self.bound * shares.cumsum(-1)[..., :-1] - self.bound
        end = torch.full_like(inner[..., :1], self.bound)
        return torch.cat([-end, inner, end], -1)

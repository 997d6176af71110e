"""A categorical distribution as a move: the distribution function of equal cells, then the normal quantile."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.moves.distributions import Gaussian
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32


@dataclass(frozen=True)
class Categorical(Elementwise):
    """A feature on [−1, 1) by the probabilities of `cells` equal cells, inside which its density is constant.

        y = Φ⁻¹(F(x))        F(x) = w_0 + … + w_{k−1} + w_k · (place of x in its cell k)        w = softmax(raw)

    With a standard normal base log p(x) = log w_k + log(cells / 2): for data that are uniform in their cell that is the
    likelihood of a language model, and no bound. F and 1 − F are summed from their own ends, so both tails keep their
    precision. The inverse keeps away from the ends of a cell by the rounding of x, and a point beyond −1 or 1 counts as
    one of the last cell there. Zero raw parameters are equal weights.

    >>> move, raw = Categorical(4), torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> y, log_slopes = move.forward(torch.tensor(0.25), raw)
    >>> move.inverse(y, raw)[0]
    tensor(0.2500)
    """

    cells: int

    def __post_init__(self):
        check_number(self.cells, "cells", least=1)

    @property
    def params_per_element(self) -> int:
        return self.cells

    def params(self, raw: Tensor) -> Tensor:
        """Log-probabilities of the cells, (*, cells)."""
        return at_least_float32(raw).log_softmax(-1)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_w, place = self.params(raw), (at_least_float32(x) + 1) * (self.cells / 2)
        k = self._cell(place)
        w, all_w, share = _at(log_w, k).exp(), log_w.exp(), (place - k).clamp(0, 1)
        cells = torch.arange(self.cells, device=k.device)
        below = (all_w * (cells < k[..., None])).sum(-1) + w * share
        above = (all_w * (cells > k[..., None])).sum(-1) + w * (1 - share)
        lower = below < above
        y = _quantile(torch.where(lower, below, above))  # of the smaller: that of 1 is infinite, and so is its gradient
        y = torch.where(lower, y, -y)
        return y, self._log_density(log_w, k) - Gaussian.log_pdf(y)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        y, log_w = at_least_float32(y), self.params(raw)
        side = 1 - 2 * (y > 0).to(y.dtype)  # where y > 0 all is mirrored, so that F is at most a half
        log_w = torch.where((y > 0)[..., None], log_w.flip(-1), log_w)
        level, ends = Gaussian.cdf(-y.abs()), log_w.exp().cumsum(-1)
        k = (ends[..., :-1] <= level[..., None]).sum(-1)
        w, edge = _at(log_w, k).exp(), self.cells * torch.finfo(y.dtype).eps
        share = (level - (_at(ends, k) - w)) / w
        x = (k + share.clamp(edge, 1 - edge)) * (2 / self.cells) - 1
        return side * x, Gaussian.log_pdf(y) - self._log_density(log_w, k)

    def log_density(self, x: Tensor, raw: Tensor) -> Tensor:
        x = at_least_float32(x)
        return self._log_density(self.params(raw), self._cell((x + 1) * (self.cells / 2))) + 0 * x  # NaN stays NaN

    def _cell(self, place: Tensor) -> Tensor:
        return place.detach().nan_to_num().floor().clamp(0, self.cells - 1).long()

    def _log_density(self, log_w: Tensor, k: Tensor) -> Tensor:
        return _at(log_w, k) + math.log(self.cells / 2)


def _at(t: Tensor, k: Tensor) -> Tensor:
    """t (*, cells) at the cells k (*)."""
    return t.gather(-1, k[..., None])[..., 0]


def _quantile(level: Tensor) -> Tensor:
    return torch.special.ndtri(level.clamp(min=torch.finfo(level.dtype).tiny))

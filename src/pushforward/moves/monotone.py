"""A monotone network: one hidden layer whose units are smooth bends, and whose weights are the raw parameters.

    y = mean_j [ right_j · softplus(t_j) − left_j · softplus(−t_j) ] / sharpness_j     t_j = sharpness_j · (x − place_j)
    dy/dx = mean_j [ right_j · sigmoid(t_j) + left_j · sigmoid(−t_j) ]

Unit j bends at place_j, from a line of slope left_j to one of slope right_j. Slopes are positive, so y increases, and
dy/dx lies between the least and the greatest of them. This brackets the inverse of any y: if r = y − f(a), then x − a
lies between r / greatest and r / least. Where all slopes are 1 a unit is x − place_j, so with places that sum to zero
their mean is x. Huang et al. 2018 (NAF), arXiv:1804.00779, take the logit of a sum of sigmoids instead: that map is
`LogisticMixture`. `Composed` makes either network deep.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.moves.bounds import SoftClip
from pushforward.moves.bracketed import inverted
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32


class Bends(NamedTuple):
    """(*, units) each. `sharpness`, `left` and `right` are positive."""

    place: Tensor
    sharpness: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class MonotoneNetwork(Elementwise):
    """A mean of smooth bends. raw holds their places, log-sharpnesses, and log-slopes to the left and to the right.

    Zero raw parameters are the identity, to rounding, with places spread over [−3, 3], so that all units have different
    gradients. Slopes and sharpnesses are softly clipped to (1 / contrast, contrast).

    >>> move, raw = MonotoneNetwork(units=2), torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5, 0.0, -0.5, 1.0])
    >>> y, log_slopes = move.forward(torch.tensor(100.0), raw)
    >>> move.inverse(y, raw)[0].round(decimals=3)
    tensor(100.)
    """

    units: int = 8
    contrast: float = 64.0

    def __post_init__(self):
        check_number(self.units, "units", least=1)
        check_number(self.contrast, "contrast", above=1)

    @property
    def params_per_element(self) -> int:
        return 4 * self.units

    def params(self, raw: Tensor) -> Bends:
        place, *logs = at_least_float32(raw).chunk(4, -1)
        spread = torch.arange(self.units, dtype=place.dtype, device=place.device) - (self.units - 1) / 2
        clip = SoftClip(math.log(self.contrast))
        return Bends(place + spread * (6 / max(self.units - 1, 1)), *(clip(log).exp() for log in logs))

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return _forward(x, self.params(raw))

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        y, params = at_least_float32(y), self.params(raw)

        def newton(x: Tensor) -> tuple[Tensor, Tensor]:
            value, log_slopes = _forward(x, params)
            return y - value, (y - value) * torch.exp(-log_slopes)

        return inverted(y, lambda x: _forward(x, params), newton, lambda y: _ends(y, params))


def _forward(x: Tensor, params: Bends) -> tuple[Tensor, Tensor]:
    place, sharpness, left, right = params
    t = sharpness * (x[..., None] - place)
    y = ((right * F.softplus(t) - left * F.softplus(-t)) / sharpness).mean(-1)
    return y, (right * torch.sigmoid(t) + left * torch.sigmoid(-t)).mean(-1).log()


def _ends(y: Tensor, params: Bends) -> tuple[Tensor, Tensor]:
    """Lower and upper bound of the inverse."""
    slopes = torch.cat([params.left, params.right], -1)
    anchor = params.place.mean(-1)
    rise = y - _forward(anchor, params)[0]
    one, other = rise / slopes.amax(-1), rise / slopes.amin(-1)
    return anchor + torch.minimum(one, other), anchor + torch.maximum(one, other)

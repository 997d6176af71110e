"""Bounds of scales: functions from a raw parameter to a log-scale.

Unbounded scales overflow in deep flows, most of all in the inverse on unusual data (Behrmann et al. 2021,
arXiv:2006.09347). bound(0) = 0, the identity, unless the docstring says otherwise.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.arrays import check_number


class Bound(ABC):
    """A smooth monotone function raw -> log_scale, in the dtype of raw."""

    @abstractmethod
    def __call__(self, raw: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Exp(Bound):
    """log_scale = raw: the scale is exp(raw), without a bound. Zhai et al. 2024 (TarFlow), arXiv:2412.06329.

    >>> Exp()(torch.tensor([-100.0, 0.0, 100.0]))
    tensor([-100.,    0.,  100.])
    """

    def __call__(self, raw: Tensor) -> Tensor:
        return raw


@dataclass(frozen=True)
class Tanh(Bound):
    """log_scale = limit · tanh(raw / limit): |log_scale| < limit. Dinh et al. 2017 (Real NVP), arXiv:1605.08803.

    >>> Tanh(2.0)(torch.tensor([-100.0, 0.0, 100.0]))
    tensor([-2.,  0.,  2.])
    """

    limit: float = 2.0

    def __post_init__(self):
        check_number(self.limit, "limit", above=0)

    def __call__(self, raw: Tensor) -> Tensor:
        return self.limit * torch.tanh(raw / self.limit)


@dataclass(frozen=True)
class SoftClip(Bound):
    """log_scale = limit · raw / (limit + |raw|): |log_scale| < limit. Gradients vanish more slowly than those of tanh.

    >>> SoftClip(7.0)(torch.tensor([-1e9, 0.0, 7.0]))
    tensor([-7.0000,  0.0000,  3.5000])
    """

    limit: float = math.log(1000)

    def __post_init__(self):
        check_number(self.limit, "limit", above=0)

    def __call__(self, raw: Tensor) -> Tensor:
        return self.limit * raw / (self.limit + raw.abs())


@dataclass(frozen=True)
class Sigmoid(Bound):
    """exp(−log_scale) = least + (most − least) · sigmoid(raw + offset): the factor of x lies in (least, most).

    Zero is the identity where offset = 0 and least + most = 2. Sigmoid(0, 2) is the bound of Jet (Kolesnikov et al.
    2024, arXiv:2412.15129); Sigmoid(0, 1, offset=2) that of Glow's code (Kingma & Dhariwal 2018, arXiv:1807.03039),
    which is not the identity at zero. With least = 0 the factor of the inverse is unbounded.

    >>> Sigmoid(0.5, 1.5)(torch.tensor([-100.0, 0.0, 100.0])).neg().exp()
    tensor([0.5000, 1.0000, 1.5000])
    """

    least: float = 1e-3
    most: float = 2 - 1e-3
    offset: float = 0.0

    def __post_init__(self):
        check_number(self.least, "least", least=0)
        check_number(self.most, "most", above=self.least)
        check_number(self.offset, "offset")

    def __call__(self, raw: Tensor) -> Tensor:
        raw = raw + self.offset
        if self.least == 0:  # in logarithms, since sigmoid(−200) is 0 in float32
            return -(F.logsigmoid(raw) + math.log(self.most))
        return -torch.log(self.least + (self.most - self.least) * torch.sigmoid(raw))


@dataclass(frozen=True)
class Softplus(Bound):
    """exp(log_scale) = log(1 + exp(raw + offset)), with the offset at which zero is the identity: the scale grows as
    raw, and not exponentially. Gu et al. 2025 (STARFlow), arXiv:2506.06276.

    >>> Softplus()(torch.tensor([-100.0, 1.0, 100.0]))
    tensor([-99.4587,   0.5512,   4.6106])
    """

    def __call__(self, raw: Tensor) -> Tensor:
        raw = raw + math.log(math.e - 1)
        small = raw < -20  # there log(1 + exp(raw)) is exp(raw), which underflows
        return torch.where(small, raw, F.softplus(raw.clamp(min=-20)).log())

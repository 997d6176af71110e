"""Affine and shift moves: where z is standard normal, x is Gaussian with mean `shift` and deviation exp(log_scale).

    z = (x − shift) / exp(log_scale)        x = z · exp(log_scale) + shift

Dinh et al. 2015 (NICE, the shift), arXiv:1410.8516; Dinh et al. 2017 (Real NVP), arXiv:1605.08803; Papamakarios et al.
2017 (MAF), arXiv:1705.07057; Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.kernels import affine as kernel
from pushforward.moves.bounds import Bound, Exp, SoftClip, Tanh
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32

BOUNDS = {Exp: "exp", Tanh: "tanh", SoftClip: "soft_clip"}  # those that the kernel computes


class AffineParams(NamedTuple):
    """Mean `shift` and standard deviation exp(`log_scale`) of x for a standard normal z, each of x's shape."""

    log_scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Affine(Elementwise):
    """z = (x − shift) · exp(−log_scale), log-slope −log_scale. log_scale = bound(raw[..., 0]), shift = raw[..., 1].

    By default log_scale has no bound, as in TarFlow. With `soft_clip` s both raw parameters become s · tanh(raw / s)
    first, as in STARFlow. Zero raw parameters are the identity if bound(0) = 0.

    >>> Affine().inverse(torch.tensor([2.0]), torch.tensor([[0.0, 1.0]]))
    (tensor([3.]), tensor([0.]))
    """

    bound: Bound = Exp()
    soft_clip: float | None = None

    gaussian = True

    def __post_init__(self):
        if self.soft_clip is not None:
            check_number(self.soft_clip, "soft_clip", above=0)

    @property
    def params_per_element(self) -> int:
        return 2

    def params(self, raw: Tensor) -> AffineParams:
        raw = at_least_float32(raw)
        if self.soft_clip is not None:
            raw = self.soft_clip * torch.tanh(raw / self.soft_clip)
        log_scale, shift = raw.unbind(-1)
        return AffineParams(self.bound(log_scale), shift)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(x, raw, inverse=False)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(y, raw, inverse=True)

    def _map(self, given: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        raw = at_least_float32(raw)

        def tensors(given: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
            log_scale, shift = self.params(raw)
            if inverse:
                return given * log_scale.exp() + shift, log_scale
            log_slopes = -log_scale
            return (given - shift) * log_slopes.exp(), log_slopes

        bound, limit = BOUNDS.get(type(self.bound)), getattr(self.bound, "limit", 0.0)
        if bound is None or self.soft_clip is not None or type(self) is not Affine:  # a subclass has other parameters
            return tensors(given, raw)
        return kernel.moved(given, raw, bound=bound, limit=limit, inverse=inverse, tensors=tensors)


@dataclass(frozen=True)
class Shift(Elementwise):
    """z = x − shift, log-slope 0: the volume-preserving move. raw[..., 0] is the shift.

    >>> Shift().inverse(torch.tensor([2.0]), torch.tensor([[1.0]]))
    (tensor([3.]), tensor([0.]))
    """

    gaussian = True
    volume_preserving = True

    @property
    def params_per_element(self) -> int:
        return 1

    def params(self, raw: Tensor) -> AffineParams:
        shift = at_least_float32(raw).squeeze(-1)
        return AffineParams(torch.zeros_like(shift), shift)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_slopes, shift = self.params(raw)
        return x - shift, log_slopes

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_slopes, shift = self.params(raw)
        return y + shift, log_slopes

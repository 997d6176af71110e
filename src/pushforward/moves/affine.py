"""Affine and shift moves: x is a draw from a Gaussian whose mean and log-scale a network names.

    z = (x − shift) / exp(log_scale)        x = z · exp(log_scale) + shift

Dinh et al. 2015 (NICE, the shift), arXiv:1410.8516; Dinh et al. 2017 (Real NVP), arXiv:1605.08803; Papamakarios et al.
2017 (MAF), arXiv:1705.07057; Zhai et al. 2024 (TarFlow), arXiv:2412.06329.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.kernels import affine as kernel
from pushforward.moves.bounds import Bound, Exp, SoftClip, Tanh
from pushforward.moves.move import Elementwise
from pushforward.shapes import at_least_float32

BOUNDS = {Exp: "exp", Tanh: "tanh", SoftClip: "soft_clip"}  # those that the kernel knows


class AffineParams(NamedTuple):
    """The Gaussian x given z: mean `shift`, standard deviation exp(`log_scale`), each of x's shape."""

    log_scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class RawAffine:
    """What `AffineParams` are made of, raw numbers (*, 2) and a bound: the kernel makes them and moves in one go.

    To all others it is the pair that it stands for.
    """

    raw: Tensor
    bound: Bound

    def __iter__(self) -> Iterator[Tensor]:
        log_scale, shift = self.raw.unbind(-1)
        return iter((self.bound(log_scale), shift))

    @property
    def log_scale(self) -> Tensor:
        return self.bound(self.raw[..., 0])

    @property
    def shift(self) -> Tensor:
        return self.raw[..., 1]


@dataclass(frozen=True)
class Affine(Elementwise):
    """z = (x − shift) · exp(−log_scale), log-slope −log_scale. log_scale = bound(raw[..., 0]), shift = raw[..., 1].

    Nothing bounds log_scale by default, as in TarFlow. Zero raw numbers are the identity if they are for the bound.

    >>> move = Affine()
    >>> move.inverse(torch.tensor([2.0]), move.interpret(torch.tensor([[0.0, 1.0]])))
    (tensor([3.]), tensor([0.]))
    """

    bound: Bound = Exp()

    @property
    def params_per_element(self) -> int:
        return 2

    def interpret(self, raw: Tensor) -> RawAffine:
        return RawAffine(at_least_float32(raw), self.bound)

    def forward(self, x: Tensor, params: AffineParams | RawAffine) -> tuple[Tensor, Tensor]:
        return _moved(_forward, x, params, inverse=False)

    def inverse(self, y: Tensor, params: AffineParams | RawAffine) -> tuple[Tensor, Tensor]:
        return _moved(_inverse, y, params, inverse=True)


@dataclass(frozen=True)
class Shift(Elementwise):
    """z = x − shift, log-slope 0: the volume-preserving move. raw[..., 0] is the shift.

    >>> move = Shift()
    >>> move.inverse(torch.tensor([2.0]), move.interpret(torch.tensor([[1.0]])))
    (tensor([3.]), tensor([0.]))
    """

    @property
    def params_per_element(self) -> int:
        return 1

    def interpret(self, raw: Tensor) -> AffineParams:
        shift = at_least_float32(raw).squeeze(-1)
        return AffineParams(torch.zeros_like(shift), shift)

    def forward(self, x: Tensor, params: AffineParams) -> tuple[Tensor, Tensor]:
        return x - params.shift, -params.log_scale

    def inverse(self, y: Tensor, params: AffineParams) -> tuple[Tensor, Tensor]:
        return y + params.shift, params.log_scale


def _forward(x: Tensor, params: AffineParams) -> tuple[Tensor, Tensor]:
    log_slopes = -params.log_scale
    return (x - params.shift) * log_slopes.exp(), log_slopes


def _inverse(y: Tensor, params: AffineParams) -> tuple[Tensor, Tensor]:
    return y * torch.exp(params.log_scale) + params.shift, params.log_scale


def _moved(
    door: Callable[[Tensor, AffineParams], tuple[Tensor, Tensor]],
    given: Tensor,
    params: AffineParams | RawAffine,
    *,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    if isinstance(params, AffineParams):
        return door(given, params)
    bound = params.bound

    def tensors(given: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return door(given, AffineParams(*RawAffine(raw, bound)))

    name = BOUNDS.get(type(bound))
    if name is None or not kernel.serves(given, params.raw, bound=name):
        return tensors(given, params.raw)
    limit = getattr(bound, "limit", 0.0)
    return kernel.moved(given, params.raw, bound=name, limit=limit, inverse=inverse, tensors=tensors)

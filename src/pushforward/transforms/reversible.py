"""Gradients without activations: a chain that forgets what was between its parts, and finds it again by going back.

Backpropagation needs what went into each part. Here only what came out of the last is kept; for the gradient, each part
in turn, from the last to the first, is inverted and then run forward once more, with gradients. So memory does not grow
with the number of parts, and a step costs 5 passes in place of 3 where both doors cost the same (forward, inverse,
forward again, and a backward pass of two). What is found again differs from what was by rounding, and so do gradients.

Gomez et al. 2017, "The Reversible Residual Network", arXiv:1707.04585; Dinh et al. 2015 (NICE), arXiv:1410.8516.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pushforward.conditions import Condition, Context
from pushforward.shapes import Events, PerSample
from pushforward.transform import Chain, Transform, replaced
from pushforward.transforms.multiscale import MultiScale
from pushforward.transforms.normalise import BatchNorm


class Reversible(Transform):
    """A chain, of the same weights under the same names, whose forward keeps its last value alone.

    For parts that are cheap to invert, and whose doors agree: a `BatchNorm` in training is refused. First derivatives
    only.
    """

    def __init__(self, chain: Chain):
        super().__init__()
        if any(isinstance(part, BatchNorm) for part in chain.modules()):
            raise ValueError(
                "the inverse of a BatchNorm is not that of its training; use ActNorm in a reversible chain."
            )
        self.parts = chain.parts

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        if not torch.is_grad_enabled():
            return _through(self.parts, x, context)
        names, fields = tuple(context or {}), [t for condition in (context or {}).values() for t in condition]
        return _Forgetful.apply(self.parts, names, x, *fields, *self.parameters())  # pyright: ignore

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return Chain(*self.parts).inverse(z, context)  # pyright: ignore[reportArgumentType]


def reversible(transform: Transform) -> Transform:
    """The same transform, of the same weights, with `Reversible` chains: one for each level of a multi-scale one."""

    def change(chain: Chain) -> Transform:
        if not any(isinstance(part, MultiScale) for part in chain.modules()):
            return Reversible(chain)
        return Chain(*(reversible(part) for part in chain))

    return replaced(transform, Chain, change)  # pyright: ignore[reportReturnType]


class _Forgetful(torch.autograd.Function):
    """(parts, the conditions' names, x, their fields, the parts' weights) -> z, log_det."""

    @staticmethod
    def forward(
        ctx: Any, parts: Any, names: tuple[str, ...], x: Tensor, *others: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        count = len(names) * len(Condition._fields)
        fields = others[:count]
        z, log_det = _through(parts, x, _context(names, fields))
        ctx.save_for_backward(z, *fields)
        ctx.parts, ctx.names, ctx.weights = parts, names, others[count:]
        device = x.device.type
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        slope, log_det_slope = slopes
        value, *fields = ctx.saved_tensors
        leaves = [f if f is None else f.detach().requires_grad_(f.is_floating_point()) for f in fields]
        sources = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad] + list(ctx.weights)
        context, gradients = _context(ctx.names, leaves), {}
        device, dtype, enabled = ctx.autocast
        with torch.autocast(device, dtype, enabled=enabled):
            for part in reversed(ctx.parts):
                value = part.inverse(value, context)[0].detach()
                with torch.enable_grad():
                    answers = zip(part(value.requires_grad_(), context), (slope, log_det_slope), strict=True)
                    answers, slopes = zip(*(pair for pair in answers if pair[0].requires_grad), strict=True)
                given = torch.autograd.grad(answers, [value, *sources], slopes, allow_unused=True)
                slope, value = given[0], value.detach()
                for source, gradient in zip(sources, given[1:], strict=True):
                    if gradient is not None:
                        gradients[source] = gradients[source] + gradient if source in gradients else gradient
        return None, None, slope, *(gradients.get(source) for source in [*leaves, *ctx.weights])


def _through(parts: Any, x: Events, context: Context | None) -> tuple[Events, PerSample]:
    return Chain(*parts)(x, context)


def _context(names: tuple[str, ...], fields: Any) -> Context:
    """Conditions of these names, made of their tensors in a row."""
    each = len(Condition._fields)
    return {name: Condition(*fields[i * each : (i + 1) * each]) for i, name in enumerate(names)}

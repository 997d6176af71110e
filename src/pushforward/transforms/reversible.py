"""Gradients without stored activations: a chain computes the inputs of its parts from its output.

Backpropagation needs the input of each part. Here only the output of the last part is stored. In the backward pass each
part, from the last to the first, is inverted and then run forward once more, with gradients. Memory does not grow with
the number of parts. A training step costs 5 passes in place of 3, if forward and inverse cost the same: forward,
inverse, forward again, and a backward pass, which counts for two. Inputs are recovered to rounding, and so are
gradients.

Gomez et al. 2017, "The Reversible Residual Network", arXiv:1707.04585; Dinh et al. 2015 (NICE), arXiv:1410.8516.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions.constraints import Constraint

from pushforward.conditions import Condition, Context
from pushforward.shapes import Events, InParts, PerSample, present_autocast
from pushforward.transform import Chain, Transform, replaced
from pushforward.transforms.multiscale import MultiScale
from pushforward.transforms.normalise import BatchNorm


class Reversible(Transform):
    """A chain, of the same weights under the same names, whose forward stores its output only.

    Its parts should be cheap to invert. It has first derivatives only. Raises ValueError where a part is a `BatchNorm`,
    whose inverse does not undo its forward in training.
    """

    def __init__(self, chain: Chain):
        super().__init__()
        if any(isinstance(part, BatchNorm) for part in chain.modules()):
            raise ValueError(
                "in training the inverse of a BatchNorm does not undo its forward. Use ActNorm in a reversible chain."
            )
        self.parts = chain.parts

    @property
    def chain(self) -> Chain:
        """The chain, which stores activations."""
        return Chain(*self.parts)  # pyright: ignore[reportArgumentType]

    @property
    def causal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.chain.causal

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        if not torch.is_grad_enabled():
            return self.chain(x, context)
        names, fields = tuple(context or {}), [t for condition in (context or {}).values() for t in condition]
        return _Recomputed.apply(self.parts, names, x, *fields, *self.parameters())  # pyright: ignore

    def support(self, event: tuple[int, ...]) -> Constraint | None:
        return self.chain.support(event)

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return self.chain.latent_shape(event)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self.chain.inverse(z, context)

    def stream(self, z: InParts, context: Context | None = None, known: Events | None = None) -> Iterator[Events]:
        return self.chain.stream(z, context, known)


def reversible(transform: Transform) -> Transform:
    """The transform with `Reversible` chains of the same weights: one, or one for each level of a multi-scale one."""

    def change(chain: Chain) -> Transform:
        if not any(isinstance(part, MultiScale) for part in chain.modules()):
            return Reversible(chain)
        return Chain(*(reversible(part) for part in chain))

    return replaced(transform, Chain, change)  # pyright: ignore[reportReturnType]


class _Recomputed(torch.autograd.Function):
    """(parts, names of conditions, x, tensors of conditions, weights of parts) -> z, log_det."""

    @staticmethod
    def forward(
        ctx: Any, parts: Any, names: tuple[str, ...], x: Tensor, *others: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        count = len(names) * len(Condition._fields)
        fields = others[:count]
        z, log_det = Chain(*parts)(x, _context(names, fields))
        ctx.save_for_backward(z, *fields)
        ctx.parts, ctx.names, ctx.weights = parts, names, others[count:]
        ctx.autocast = present_autocast(x)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        slope, log_det_slope = slopes
        value, *fields = ctx.saved_tensors
        leaves = [f if f is None else f.detach().requires_grad_(f.is_floating_point()) for f in fields]
        sources = [t for t in (*leaves, *ctx.weights) if t is not None and t.requires_grad]
        context, gradients = _context(ctx.names, leaves), {}
        with torch.autocast(*ctx.autocast):
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


def _context(names: tuple[str, ...], fields: Any) -> Context:
    """The context with these names, from the tensors of all its conditions in order."""
    each = len(Condition._fields)
    return {name: Condition(*fields[i * each : (i + 1) * each]) for i, name in enumerate(names)}

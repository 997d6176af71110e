"""What a flow is conditioned on.

The user gives labels or vectors, of any batch shape; `flow.embed` checks them once and turns them into a `Context`:
normalised, but not projected. Each network owns its projection of the context and its null, the answer it gives
for a row that is conditioned on nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Size, Tensor

Given = object  # what the user has: None, labels, vectors, or a ready Context


class Context(NamedTuple):
    """What each row is conditioned on; every field present starts with the batch shape.

    A NamedTuple is a pytree: compilers and sharding see inside.
    """

    null: Tensor  # (*batch,) bool: True where the row is conditioned on nothing
    labels: Tensor | None = None  # (*batch,) int64, 0 where null
    vector: Tensor | None = None  # (*batch, feature)
    image: Tensor | None = None  # (*batch, channel, height, width)
    attention_temperature: Tensor | None = None  # (*batch,), 1 where None: what guidance asks of a network

    @property
    def batch_shape(self) -> Size:
        return self.null.shape

    def each(self, change: Callable[[Tensor], Tensor]) -> Context:
        """The context with `change` applied to every field present."""
        return Context(*(None if field is None else change(field) for field in self))  # pyright: ignore[reportArgumentType]

    def expand(self, shape: tuple[int, ...]) -> Context:
        """The context broadcast to the batch shape `shape`."""
        given = len(self.batch_shape)
        try:
            return self.each(lambda t: t.expand((*shape, *t.shape[given:])))
        except RuntimeError:
            raise ValueError(
                f"the context has batch shape {tuple(self.batch_shape)}, and x has {tuple(shape)}. "
                "Give one context for each row, or a single one for all."
            ) from None

    def rows(self, shape: tuple[int, ...]) -> Context:
        """The context broadcast to the batch shape `shape`, as one batch dimension."""
        return self.expand(shape).each(lambda t: t.reshape(-1, *t.shape[len(shape) :]))

    def drop(self, rows: Tensor) -> Context:
        """The context with the given rows (bool, of the batch shape) conditioned on nothing."""
        return self._replace(null=self.null | rows)

    def attending(self, temperature: Tensor) -> Context:
        """The context with an attention temperature for each row."""
        return self._replace(attention_temperature=temperature)

    def beside(self, other: Context) -> Context:
        """Both contexts as one batch: these rows, then the other's."""
        pairs = list(zip(self, other, strict=True))
        assert all((a is None) == (b is None) for a, b in pairs), "both contexts have the same fields"
        return Context(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))  # pyright: ignore[reportArgumentType]


class Embed(Protocol):
    """How what the user has becomes a `Context`; None where a flow is conditioned on nothing.

    A ready context is let through if it has what the flow is conditioned on.
    """

    def __call__(self, given: Given) -> Context | None: ...


@dataclass(frozen=True)
class Unconditional:
    """Conditioned on nothing: takes None and answers None."""

    def __call__(self, given: Given) -> Context | None:
        if given is None or (isinstance(given, Context) and given.labels is given.vector is given.image is None):
            return given
        raise ValueError(f"this flow is unconditional and was given a context ({_describe(given)}). Leave it out.")


@dataclass(frozen=True)
class Labels:
    """Class labels 0 … classes − 1, or −1 for the null label: an int or integers of shape (*batch,).

    >>> Labels(10)([3, -1]).null
    tensor([False,  True])
    """

    classes: int

    def __call__(self, given: Given) -> Context:
        if ready := _ready(given, "labels", f"labels 0 … {self.classes - 1}, or −1 for the null label"):
            return ready
        labels = torch.as_tensor(given)
        if labels.is_floating_point() or labels.dtype == torch.bool or labels.is_complex():
            raise ValueError(f"labels are integers; these are {labels.dtype}. Convert them with .long().")
        labels = labels.long()  # small integers could not be compared with a large number of classes
        wrong = labels[(labels < -1) | (labels >= self.classes)]
        if wrong.numel():
            raise ValueError(
                f"this flow takes labels 0 … {self.classes - 1}, and −1 for the null label; got {wrong.flatten()[0]}."
            )
        return Context(null=labels < 0, labels=labels.clamp(min=0))


@dataclass(frozen=True)
class Vector:
    """A vector of `features` real numbers: shape (*batch, features). `embed(vector).drop(rows)` makes rows null.

    >>> Vector(2)([0.5, 1.0]).batch_shape
    torch.Size([])
    """

    features: int

    def __call__(self, given: Given) -> Context:
        if ready := _ready(given, "vector", f"vectors of {self.features} numbers"):
            return ready
        vector = torch.as_tensor(given)
        if vector.shape[-1:] != (self.features,):
            raise ValueError(f"this flow takes contexts of shape (batch, {self.features}); got {tuple(vector.shape)}.")
        if not vector.is_floating_point():
            vector = vector.to(torch.get_default_dtype())
        return Context(null=torch.zeros(vector.shape[:-1], dtype=torch.bool, device=vector.device), vector=vector)


@dataclass(frozen=True)
class Image:
    """An image, or any map of features, of this shape: (*batch, channel, height, width).

    >>> Image(3, 8, 8)(torch.zeros(5, 3, 8, 8)).batch_shape
    torch.Size([5])
    """

    channels: int
    height: int
    width: int

    def __call__(self, given: Given) -> Context:
        shape = (self.channels, self.height, self.width)
        if ready := _ready(given, "image", f"images of shape {shape}"):
            return ready
        image = torch.as_tensor(given)
        if image.shape[-3:] != shape or not image.is_floating_point():
            raise ValueError(
                f"this flow takes contexts of shape (batch, {', '.join(map(str, shape))}), of real numbers; got "
                f"{tuple(image.shape)} of {image.dtype}."
            )
        return Context(null=torch.zeros(image.shape[:-3], dtype=torch.bool, device=image.device), image=image)


def _ready(given: Given, field: str, expected: str) -> Context | None:
    """The context, if it is ready and has the field; None if it is not one yet."""
    if given is None or (isinstance(given, Context) and getattr(given, field) is None):
        raise ValueError(
            f"this flow is conditional ({expected}) and was called without a context. "
            "Give one for each row, or a single one for all."
        )
    return given if isinstance(given, Context) else None


def _describe(given: Given) -> str:
    return f"a tensor of shape {tuple(given.shape)}" if isinstance(given, Tensor) else repr(given)

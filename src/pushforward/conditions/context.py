"""The conditions of a batch of rows, by name, and how their batch shape is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Size, Tensor


class Condition(NamedTuple):
    """One condition of a batch of rows. As a NamedTuple it is a pytree, which compilers and sharding can traverse."""

    value: Tensor  # (*batch, …)
    null: Tensor  # (*batch,) bool: True where the row is not conditioned on it
    mask: Tensor | None = None  # (*batch, token) bool, where the value has tokens: False for padding

    def each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """The condition with `change` applied to every tensor."""
        return Condition(change(self.value), change(self.null), None if self.mask is None else change(self.mask))

    def expand(self, shape: tuple[int, ...]) -> Condition:
        """The condition broadcast to the batch shape `shape`. Raises RuntimeError where it cannot be."""
        own = self.null.dim()
        return self if self.null.shape == shape else self.each(lambda t: t.expand((*shape, *t.shape[own:])))


Context = Mapping[str, Condition]  # conditions of one batch shape; empty where a flow is unconditional


def batch_shape(context: Context) -> Size:
    """The batch shape that all conditions have; () where there are none."""
    return next((condition.null.shape for condition in context.values()), Size())


def each(context: Context, change: Callable[[Tensor], Tensor]) -> Context:
    """The context with `change` applied to every tensor."""
    return {name: condition.each(change) for name, condition in context.items()}


def expand(context: Context, shape: tuple[int, ...]) -> Context:
    """The context broadcast to the batch shape `shape`. Raises ValueError where it cannot be."""
    try:
        return {name: condition.expand(shape) for name, condition in context.items()}
    except RuntimeError:
        raise _does_not_fit(batch_shape(context), shape) from None


def broadcast(context: Context, shape: Size) -> Size:
    """The batch shape to which `shape`, that of x, and the context's broadcast. Raises ValueError where they do not."""
    given = batch_shape(context)
    if given == shape or not given:
        return shape
    try:
        return torch.broadcast_shapes(shape, given)
    except RuntimeError:
        raise _does_not_fit(given, shape) from None


def _does_not_fit(given: Size, shape: tuple[int, ...]) -> ValueError:
    column = " Give a column as context[:, 0]." if tuple(given) == (*shape, 1) else ""
    return ValueError(
        f"the context has batch shape {tuple(given)}, and x has {tuple(shape)}. Give a context for each row, or one "
        f"for all.{column}"
    )


def rows(context: Context, shape: tuple[int, ...]) -> Context:
    """The context broadcast to the batch shape `shape`, as one batch dimension."""
    context = expand(context, shape)
    return context if len(shape) == 1 else each(context, lambda t: t.reshape(-1, *t.shape[len(shape) :]))


def drop(context: Context, null: Tensor, *names: str) -> Context:
    """The context with the named conditions null, or all if none is named, in the rows where `null` (*batch,) is True.

    Raises ValueError where the context has no condition of a name.
    """
    for name in names:
        find(context, name)
    return {
        name: condition._replace(null=condition.null | null) if not names or name in names else condition
        for name, condition in context.items()
    }


def concatenate(first: Context, second: Context) -> Context:
    """Both contexts, of the same conditions, as one batch: the rows of the first, then those of the second."""
    if first.keys() != second.keys():
        raise ValueError(
            f"contexts that are concatenated have the same conditions; got {names(first)} and {names(second)}."
        )
    joined = {}
    for name, condition in first.items():
        pairs = zip(condition, second[name], strict=True)
        joined[name] = Condition(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))  # pyright: ignore[reportArgumentType]
    return joined


def find(context: Context | None, name: str) -> Condition:
    """The condition of this name. Raises ValueError where the context has none."""
    if not context or name not in context:
        raise ValueError(f"the condition {name!r} is missing; the context has {names(context or {})}.")
    return context[name]


def names(given: Mapping[str, object]) -> str:
    """The names of conditions, for errors."""
    return ", ".join(map(repr, given)) or "none"

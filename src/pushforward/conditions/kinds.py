"""Kinds of conditions, and how the user's values become a context."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from pushforward.arrays import as_tensor, check_exact, check_number
from pushforward.conditions.context import Condition, Context, expand, names
from pushforward.recording import readable

Given = object  # what the user gives: None, a value of the one condition, a dict of values by name, or a Context


class Kind(ABC):
    """A kind of condition: how it is read from the user's values, and its null.

    Where an `optional` one is not given it is null.
    """

    optional: ClassVar[bool] = False

    @property
    @abstractmethod
    def expected(self) -> str:
        """The values that it takes, in words, for errors."""

    @abstractmethod
    def read(self, given: Given) -> Condition:
        """The user's values -> a condition. Raises ValueError where they are of another kind."""

    @abstractmethod
    def null(self) -> Condition:
        """The null, of batch shape ()."""


@dataclass(frozen=True)
class Label(Kind):
    """A class label 0 … classes − 1, or −1 for the null: an int or integers of shape (*batch,).

    On a CPU a label out of range raises ValueError. On other devices, where a check would wait for the device, and in
    compiled code it is an index error in the embedding.

    >>> Label(10).read([3, -1]).null
    tensor([False,  True])
    """

    classes: int

    @property
    def expected(self) -> str:
        return f"labels 0 … {self.classes - 1}, or −1 for the null label"

    def read(self, given: Given) -> Condition:
        labels = as_tensor(given, "the label")
        if labels.is_floating_point() or labels.dtype == torch.bool or labels.is_complex():
            raise ValueError(f"labels are integers; these are {labels.dtype}. Convert them with .long().")
        labels = labels.long()  # int8 cannot be compared with a large number of classes
        if readable(labels):
            wrong = (labels < -1) | (labels >= self.classes)
            if wrong.any():
                raise ValueError(f"this flow takes {self.expected}; got {labels[wrong][0]}.")
        null = labels == -1
        value = labels.masked_fill(labels < 0, self.classes)  # out of range, so that no negative index wraps around
        return Condition(value.masked_fill(null, 0), null)

    def null(self) -> Condition:
        return self.read(-1)


@dataclass(frozen=True)
class Array(Kind):
    """A real array of a fixed shape. The value of the null is zeros, which no network reads.

    On a CPU infinite elements raise ValueError, as labels out of range do.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one value."""

    @property
    def expected(self) -> str:
        sizes = "".join(f", {size}" for size in self.shape)
        return f"{type(self).__name__.lower().rstrip('s')}s of shape (batch{sizes})"

    def read(self, given: Given) -> Condition:
        value = as_tensor(given, f"the {type(self).__name__.lower()}")
        if value.shape[value.dim() - len(self.shape) :] != self.shape or value.is_complex():
            hint = " Give it with [:, None] for one feature." if self.shape == (1,) and value.dim() == 1 else ""
            raise ValueError(f"this flow takes {self.expected}; got {tuple(value.shape)} of {value.dtype}.{hint}")
        if not value.is_floating_point():
            if readable(value):
                check_exact(value, f"the {type(self).__name__.lower()}")
            held = value.dtype.itemsize < 4  # float32 has every such integer
            value = value.to(torch.get_default_dtype() if held else torch.float64)
        if readable(value) and value.isinf().any():
            raise ValueError(
                f"{self.expected} that a flow is conditioned on are finite; {value.isinf().sum()} elements of "
                f"{tuple(value.shape)} are not. Leave those rows out, or give None, the null."
            )
        batch = value.shape[: value.dim() - len(self.shape)]
        return Condition(value, torch.zeros(batch, dtype=torch.bool, device=value.device))

    def null(self) -> Condition:
        return Condition(torch.zeros(self.shape, device="cpu"), torch.tensor(True, device="cpu"))


@dataclass(frozen=True)
class Number(Array):
    """A real number: (*batch,).

    >>> Number().read([0.5, 1.0]).null
    tensor([False, False])
    """

    @property
    def shape(self) -> tuple[int, ...]:
        return ()


@dataclass(frozen=True)
class Vector(Array):
    """A real vector: (*batch, features).

    >>> Vector(2).read([0.5, 1.0]).null.shape
    torch.Size([])
    """

    features: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.features,)


@dataclass(frozen=True)
class Values(Array):
    """A real array of any shape, which an embedding network turns into a vector: (*batch, *shape).

    >>> Values((10, 3)).read(torch.zeros(5, 10, 3)).null.shape
    torch.Size([5])
    """

    sizes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sizes


@dataclass(frozen=True)
class Image(Array):
    """An image, or any map of features: (*batch, channels, height, width).

    >>> Image(3, 8, 8).read(torch.zeros(5, 3, 8, 8)).null.shape
    torch.Size([5])
    """

    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class Text(Array):
    """The embeddings of a text's tokens: (*batch, token, features), of `tokens` tokens at most.

    Fewer tokens are padded with zeros, and the mask says which are the text's.

    >>> Text(4, 8).read(torch.zeros(5, 3, 8)).mask[0]
    tensor([ True,  True,  True, False])
    """

    tokens: int
    features: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tokens, self.features

    @property
    def expected(self) -> str:
        return f"embeddings of shape (batch, token, {self.features}) of {self.tokens} tokens at most"

    def read(self, given: Given) -> Condition:
        value, tokens = as_tensor(given, "the text"), self.tokens
        if value.dim() > 1 and value.shape[-1] == self.features and value.shape[-2] < tokens:
            tokens = value.shape[-2]
            value = F.pad(value, (0, 0, 0, self.tokens - tokens))
        value, null, _ = super().read(value)
        mask = torch.arange(self.tokens, device=value.device) < tokens
        return Condition(value, null, mask.expand(*null.shape, -1))

    def null(self) -> Condition:
        return super().null()._replace(mask=torch.zeros(self.tokens, dtype=torch.bool, device="cpu"))


@dataclass(frozen=True)
class TokenIds(Kind):
    """The tokens of a text, integers 0 … vocabulary − 1: (*batch, token), of `tokens` at most. Those of −1 are padding.

    >>> TokenIds(4, 11).read([[3, 10, 7], [5, -1, -1]]).mask
    tensor([[ True,  True,  True, False],
            [ True, False, False, False]])
    """

    tokens: int
    vocabulary: int

    @property
    def expected(self) -> str:
        return f"texts of {self.tokens} tokens at most, integers 0 … {self.vocabulary - 1}, or −1 for padding"

    def read(self, given: Given) -> Condition:
        value = as_tensor(given, "the text")
        if value.is_floating_point() or value.dtype == torch.bool or value.is_complex():
            raise ValueError(f"this flow takes {self.expected}; got {value.dtype}. A tokenizer makes them of text.")
        if not value.dim() or value.shape[-1] > self.tokens:
            raise ValueError(f"this flow takes {self.expected}; got shape {tuple(value.shape)}.")
        value = F.pad(value.long(), (0, self.tokens - value.shape[-1]), value=-1)
        if readable(value):
            wrong = value[(value < -1) | (value >= self.vocabulary)]
            if wrong.numel():
                raise ValueError(f"this flow takes {self.expected}; got {wrong.flatten()[0]}.")
        null = torch.zeros(value.shape[:-1], dtype=torch.bool, device=value.device)
        return Condition(value.clamp(min=0), null, value >= 0)

    def null(self) -> Condition:
        return self.read(torch.zeros(0, dtype=torch.long, device="cpu"))._replace(null=torch.tensor(True, device="cpu"))


@dataclass(frozen=True)
class NoiseLevel(Kind):
    """The deviation of the Gaussian noise in x, above 0 and finite: a float or real numbers of shape (*batch,).

    A flow that was trained at the levels `low` … `high` knows them all. It is optional: the null is `high`. It may be
    dropped, as in guidance, and keeps its value.

    >>> NoiseLevel(0.01, 0.3).null().value
    tensor(0.3000)
    """

    low: float
    high: float
    optional: ClassVar[bool] = True

    def __post_init__(self):
        check_number(self.low, "the lowest noise level", above=0)
        check_number(self.high, "the highest noise level", least=self.low)

    @property
    def expected(self) -> str:
        return f"noise levels {self.low:g} … {self.high:g}, or None for the highest"

    def read(self, given: Given) -> Condition:
        levels = as_tensor(given, "the noise level")
        if not levels.is_floating_point():
            levels = levels.to(torch.get_default_dtype())
        if readable(levels) and len(wrong := levels[~((levels > 0) & levels.isfinite())]):
            raise ValueError(f"this flow takes {self.expected}; got {wrong[0]:g}.")
        return Condition(levels, torch.zeros_like(levels, dtype=torch.bool))

    def null(self) -> Condition:
        return Condition(torch.tensor(self.high, device="cpu"), torch.tensor(True, device="cpu"))


def read(kinds: Mapping[str, Kind], given: Given) -> Context:
    """The user's values -> the context of a flow with these conditions, all of one batch shape.

    For one condition `given` is its value; for several it is a dict of values by name, where None stands for the null.
    Optional ones may be left out. A `Condition` or a `Context` is returned as it is. Raises ValueError, with the name,
    where a condition is missing, unknown or of the wrong kind.
    """
    if not kinds:
        if given is None or (isinstance(given, Mapping) and not given):
            return {}
        raise ValueError(f"this flow is unconditional and was given a context ({_describe(given)}). Leave it out.")
    given = by_name(kinds, given)
    context = {name: _read(kind, given[name]) for name, kind in kinds.items()}
    shapes = {name: tuple(condition.null.shape) for name, condition in context.items()}
    try:
        shape = torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        got = ", ".join(f"{name} of batch shape {shape}" for name, shape in shapes.items())
        raise ValueError(f"conditions have batch shapes that broadcast; got {got}.") from None
    return expand(context, shape)


def by_name(kinds: Mapping[str, Kind], given: Given) -> dict[str, Given]:
    """The user's values as a dict by name, None where an optional one was left out. Raises ValueError as `read`."""
    optional = {name: None for name, kind in kinds.items() if kind.optional}
    if given is None and len(optional) < len(kinds):
        raise ValueError(
            f"this flow is conditional ({_expected(kinds)}) and was called without a context. "
            "Give one for each row, or one for all."
        )
    if not isinstance(given, Mapping):
        needed = [name for name in kinds if name not in optional] or kinds
        if len(needed) > 1:
            raise ValueError(f"this flow has several conditions: give a dict of them ({_expected(kinds)}).")
        given = dict.fromkeys(needed, given)
    given = {**optional, **given}
    if given.keys() != kinds.keys():
        raise ValueError(f"this flow takes the conditions {_expected(kinds)}; got {names(given)}.")
    return given


def _read(kind: Kind, given: Given) -> Condition:
    if given is None:
        return kind.null()
    return given if isinstance(given, Condition) else kind.read(given)


def _expected(kinds: Mapping[str, Kind]) -> str:
    return "; ".join(f"{name}: {kind.expected}" for name, kind in kinds.items())


def _describe(given: Any) -> str:
    return f"an array of shape {tuple(given.shape)}" if hasattr(given, "shape") else repr(given)

"""The contract of a model: the configuration of a flow, as plain data, and how to build it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pushforward.flow import Flow
from pushforward.objectives import ObjectiveConfig


class Model(ABC):
    """The configuration of a flow: a frozen dataclass of numbers, tuples and other frozen dataclasses.

    `words` gives names to values of fields: field -> word -> value. A word in place of a value is replaced by it, and
    an unknown word raises ValueError. The command line and the recipes of older versions use words. Lists and arrays
    become tuples, and numbers of numpy Python's own.
    """

    objective: ObjectiveConfig | None = None  # how its flow is trained where nothing else is said; None: by likelihood
    words: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __new__(cls, *_: Any, **fields: Any):
        if "steps" in fields and "steps" not in getattr(cls, "__dataclass_fields__", ()):
            raise TypeError(
                f"{cls.__name__} takes the number of its transforms as transforms=; steps are of a training."
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            object.__setattr__(self, name, _plain(value))
        for field, values in self.words.items():
            value = getattr(self, field)
            if isinstance(value, str):
                if value not in values:
                    raise ValueError(f"{field} is an object, or one of {', '.join(map(repr, values))}; got {value!r}.")
                object.__setattr__(self, field, values[value])

    @abstractmethod
    def build(self) -> Flow:
        """A fresh flow, with random weights of the default dtype and device."""

    def small(self) -> Model:
        """The same in miniature, for tests that train it; by default itself."""
        return self


def _plain(value: Any) -> Any:
    """A field's value as plain data, which can be compared, hashed and saved."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value

"""The contract of a model: the configuration of a flow, as plain data, and how to build it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

from pushforward.fields import check_types, meant
from pushforward.flow import Flow

OTHER_WORDS = {  # for fields of a model, in other packages
    "steps": "transforms; steps are of a training",
    "num_transforms": "transforms",
    "num_layers": "transforms, or hidden for those of a network",
    "n_layers": "transforms, or hidden for those of a network",
    "dim": "features",
    "hidden_features": "hidden",
    "hidden_dims": "hidden",
    "hidden_units": "hidden",
    "context_features": "context",
    "bins": "move, such as move=moves.RationalQuadraticSpline(bins=8)",
    "num_bins": "move, such as move=moves.RationalQuadraticSpline(bins=8)",
}


class Model(ABC):
    """The configuration of a flow: a frozen dataclass of numbers, tuples and other frozen dataclasses.

    `words` gives names to values of fields: field -> word -> value. A word in place of a value is replaced by it, and
    an unknown word raises ValueError. The command line and the recipes of older versions use words. Lists and arrays
    become tuples, and numbers of numpy Python's own.
    """

    objective: Any = None  # the `objectives.ObjectiveConfig` by which its flow is trained; None: maximum likelihood
    words: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __new__(cls, *given: Any, **named: Any):
        if is_dataclass(cls):
            _check_names(cls, given, named)
        return super().__new__(cls)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked of all objects, by copy and pickle too
            raise AttributeError(name)
        raise AttributeError(
            f"a {type(self).__name__} of pushforward.models is the configuration of a flow, and has no {name!r}. Its "
            "build() makes the flow."
        )

    def __post_init__(self) -> None:
        check_types(self)
        if below := {name: value for name, value in vars(self).items() if isinstance(value, int) and value < 0}:
            raise ValueError(f"the fields of a {type(self).__name__} are counts, and none is below 0; got {below}.")
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


def check_class(model: Any) -> None:
    """Raise TypeError where an estimator, which builds models of a size that it finds, is given something else."""
    if isinstance(model, Model | Flow) or not callable(model):
        raise TypeError(
            "an estimator takes a class of pushforward.models, such as pf.models.NSF, or functools.partial(pf.models."
            f"NSF, transforms=3); got {model!r}."
        )


def _check_names(kind: type, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Raise TypeError where a model is given fields without their names, or fields that it does not have."""
    known = [field.name for field in fields(kind)]
    if given and fields(kind)[0].kw_only:
        raise TypeError(f"{kind.__name__} takes its fields by name, {known[0]}= first; got {given[0]!r} without one.")
    for name in named:
        if name not in known:
            raise TypeError(f"{kind.__name__} has no field {name!r}: {meant(name, known, OTHER_WORDS)}.")

"""Fields of configurations: numbers, words and tuples of the types that are written beside them."""

import difflib
import operator
from collections.abc import Collection, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor

WORDS = {int: "an integer", float: "a number", bool: "True or False"}  # of the types that are checked


def meant(name: str, known: Collection[str], other_words: Mapping[str, str]) -> str:
    """What may have been meant by an unknown name, for an error: `other_words` are those of other packages."""
    close = [other_words[name]] if name in other_words else difflib.get_close_matches(name, known, n=1)
    return f"it is called {close[0]}" if close else f"there are {', '.join(known)}"


def check_types(config: Any) -> None:
    """Give the fields of a frozen dataclass Python's own values: of numpy's numbers, of lists and of arrays.

    A whole number may stand for an integer, 1e3 for 1000. Raises ValueError, by the field, where a value is not of the
    type of its field, for fields that are integers, numbers, truth values, or tuples of them.

    >>> pf.training.Plan(steps=1e3, seed=np.int64(3)).steps
    1000
    """
    for name, value in list(vars(config).items()):
        plain = _plain(value)
        if (wanted := _types(type(config)).get(name)) is not None:
            try:
                plain = _cast(plain, wanted)
            except (TypeError, ValueError):
                kind = type(config).__name__
                raise ValueError(f"{kind} takes {_words(wanted)} as {name}; got {value!r}.") from None
        object.__setattr__(config, name, plain)


@cache
def _types(kind: type) -> dict[str, Any]:
    """The types of the fields that are checked. Types that only a type checker can read are left out."""
    try:
        hints = get_type_hints(kind)
    except NameError:
        return {}
    return {name: hint for name, hint in hints.items() if _is_checked(hint)}


def _is_checked(hint: Any) -> bool:
    parts = get_args(hint)
    if get_origin(hint) in (tuple, Union, UnionType):
        return all(part in (Ellipsis, NoneType) or _is_checked(part) for part in parts)
    return hint in WORDS


def _plain(value: Any) -> Any:
    """A field's value as plain data, which can be compared, hashed and saved."""
    if isinstance(value, np.ndarray | np.generic) or (isinstance(value, Tensor) and value.dim() == 0):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _cast(value: Any, hint: Any) -> Any:
    """The value as this type. Raises TypeError or ValueError where it is of another."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return None if value is None else _cast(value, next(part for part in parts if part is not NoneType))
    if kind is tuple:
        wanted = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(_cast(each, part) for each, part in zip(value, wanted, strict=True))
    if hint is bool or isinstance(value, bool):
        if hint is not bool or not isinstance(value, bool):
            raise TypeError
        return value
    if hint is int:
        if isinstance(value, float) and not value.is_integer():
            raise TypeError
        return int(value) if isinstance(value, float) else operator.index(value)
    if not isinstance(value, int | float):
        raise TypeError
    return value


def _words(hint: Any) -> str:
    """The type in words."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join("None" if part is NoneType else _words(part) for part in parts)
    if kind is tuple:
        one = _words(parts[0]).removeprefix("an ").removeprefix("a ")
        return f"a tuple of {'' if parts[-1] is Ellipsis else f'{len(parts)} '}{one}s"
    return WORDS[hint]

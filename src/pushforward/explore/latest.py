"""A mapping of limited size."""

from collections import OrderedDict
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Latest(OrderedDict[Key, Value]):
    """The `most` entries that were set last.

    >>> found = Latest(2)
    >>> found["a"] = found["b"] = found["a"] = found["c"] = 1
    >>> list(found)
    ['a', 'c']
    """

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self.most:
            self.popitem(last=False)

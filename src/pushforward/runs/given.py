"""What samples of a run on a table are conditioned on: values by name, or the rows of a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pushforward.data import Source
from pushforward.data.data import naming
from pushforward.data.tables import read_table


class Given(NamedTuple):
    """Rows of the context's columns, (rows, columns): one row, or those of a file."""

    rows: np.ndarray
    from_a_file: bool


def read_given(source: Source, words: Sequence[str]) -> Given:
    """Read NAME=VALUE for each column of the source's context, or the path of a file that has these columns.

    Raises ValueError where a column is missing, is not of the context, or has a value that is not a number.
    """
    names = source.context
    if len(words) == 1 and (Path(words[0]).exists() or "=" not in words[0]):
        if not names:
            raise ValueError(f"a flow of {source} is conditioned on nothing: leave out --given.")
        table = read_table(words[0])
        with naming(words[0]):
            return Given(table.take(names), True)
    values: dict[str, float] = {}
    for word in words:
        name, _, value = word.rpartition("=")
        if name not in names or name in values:
            raise ValueError(
                f"a flow of {source} is conditioned on {', '.join(names) or 'nothing'}: give NAME=VALUE once for each; "
                f"got {word!r}."
            )
        values[name] = _number(value, word)
    lacking = [name for name in names if name not in values]
    if lacking:
        listed = " ".join(f"{name}=VALUE" for name in names)
        raise ValueError(
            f"a flow of {source} is conditioned on {', '.join(names)}: give --given {listed}, or a file with these "
            f"columns; {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing."
        )
    return Given(np.array([[values[name] for name in names]]), False)


def _number(value: str, word: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise ValueError(f"{word!r} gives no finite number.")
    return number

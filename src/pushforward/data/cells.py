"""Numbers in the cells of delimited text: decimal points or commas, missing values, true and false."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pushforward.arrays import EXACT, NEARER, rounded

DIGITS = r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+|d[+-]\d+)?"  # Fortran writes 1.5D-01
NUMBER = re.compile(rf"{DIGITS}|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
WITH_UNIT = re.compile(rf"(?P<before>[^\w\s.,+-]*) ?{DIGITS} ?(?P<after>%|[^\W\d_]+)?", re.IGNORECASE)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+", re.ASCII)  # 1,234: this could be 1234
GROUPED = re.compile(r"[+-]?\d{1,3}([., '’_\u00a0\u202f]\d{3})+([.,]\d*)?", re.ASCII)  # 1,234.5 and its like
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b.*|\d{1,2}:\d{2}(:\d{2}.*)?", re.ASCII)
MISSING = frozenset(
    ("", "na", "n/a", "<na>", "#na", "#n/a", "#n/a n/a", "#null!", "null", "nil", "none", "missing", "nat")
    + ("nan", "-nan", "+nan", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind", "-", "--", "?", ".")
)
TRUTHS = {"true": 1.0, "false": 0.0}
PLAIN = frozenset("0123456789+-.eE")


class Fault(NamedTuple):
    """Why a column cannot be read as numbers: the first cell to blame, what it is, and what to do."""

    row: int  # from 0, among the rows of the table
    what: str
    remedy: str


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a decimal point or comma."""
    return NUMBER.fullmatch(cell) is not None


def is_integer(cell: str) -> bool:
    return INTEGER.fullmatch(cell) is not None


def is_missing(cell: str) -> bool:
    """Whether a cell is empty, or a word for a missing value."""
    return cell.lower() in MISSING


def read_numbers(columns: Sequence[Sequence[str]]) -> list[np.ndarray | Fault]:
    """Each column's cells as float64 (n,), NaN where missing; or why they cannot be read. A true minus sign is one.

    Commas are decimal where a column has commas and no points, unless each could separate thousands, 1,234, and no
    other column has decimal commas. Where one has, points that could separate thousands, 1.234, are refused.
    """
    columns = [[cell.replace("\N{MINUS SIGN}", "-") for cell in column] for column in columns]
    commas = any(_decimal_commas(column) for column in columns)
    return [_read(column, commas) for column in columns]


def _decimal_commas(column: Sequence[str]) -> bool:
    """Whether a column has decimal commas, beyond doubt."""
    having = [cell for cell in column if "," in cell]
    return any(is_number(cell) and not THOUSANDS.fullmatch(cell) for cell in having) and not any(
        "." in cell and is_number(cell) for cell in column
    )


def _read(column: Sequence[str], commas: bool) -> np.ndarray | Fault:
    if all(column) and PLAIN.issuperset("".join(column)) and not commas:
        try:
            return _exact(np.array(column, dtype=np.float64), column)
        except ValueError:
            pass  # a cell such as "-", which is read below
    words = {cell.lower() for cell in column if not is_number(cell) and not is_missing(cell)}
    if words and words <= TRUTHS.keys():
        return np.array([TRUTHS.get(cell.lower(), math.nan) for cell in column])
    for row, cell in enumerate(column):
        if not is_number(cell) and not is_missing(cell):
            return _fault(row, cell, column)
    marked = [(row, cell) for row, cell in enumerate(column) if is_number(cell) and ("," in cell or "." in cell)]
    both = {mark for mark in ",." if any(mark in cell for _, cell in marked)}
    doubtful = [(row, cell) for row, cell in marked if THOUSANDS.fullmatch(cell)]
    if len(both) > 1:
        row, cell = next(pair for pair in marked if "," in pair[1])
        return Fault(row, f"{cell!r}, and elsewhere a decimal point", "Write all numbers of a column alike")
    if doubtful and len(doubtful) == len(marked) and both == ({"."} if commas else {","}):
        return Fault(doubtful[0][0], f"{doubtful[0][1]!r}, which can be read in two ways", SEPARATORS_OF_THOUSANDS)
    return _exact(np.array([math.nan if is_missing(cell) else float(_plain(cell)) for cell in column]), column)


def _plain(number: str) -> str:
    """A number as Python reads it."""
    return number.replace(",", ".").replace("d", "e").replace("D", "e")


def _exact(numbers: np.ndarray, column: Sequence[str]) -> np.ndarray | Fault:
    """The numbers of these cells, unless an integer was rounded."""
    for row in (np.abs(numbers) >= EXACT).nonzero()[0].tolist():
        cell = str(column[row])
        if is_integer(cell) and abs(int(cell)) > EXACT:
            return Fault(row, rounded(cell), NEARER)
    return numbers


SEPARATORS_OF_THOUSANDS = "Write numbers without separators of thousands"


def _fault(row: int, cell: str, column: Sequence[str]) -> Fault:
    """What a cell is that is no number, and what to do about it."""
    what = f"{cell if len(cell) <= 40 else cell[:40] + '…'!r}, which is no number"
    if GROUPED.fullmatch(cell):
        return Fault(row, what, SEPARATORS_OF_THOUSANDS)
    if DATE.fullmatch(cell):
        return Fault(row, what, "Write dates and times as numbers, such as days since the first of them")
    if len(units := _units(column)) == 1 and None not in units:
        return Fault(row, what, "Write numbers without their unit, which may stand in the name of the column")
    if 2 * sum(is_number(other) for other in column) > len(column):
        return Fault(row, what, "Correct it, or write NA and leave such rows out by --missing drop")
    return Fault(row, what, "For a category number its values 0, 1, …, and give --supports NAME=integers:0:LAST")


def _units(column: Sequence[str]) -> set[str | None]:
    """What stands before or after the numbers of a column, None where a cell has no number; missing values apart."""
    found = [WITH_UNIT.fullmatch(cell) for cell in column if not is_missing(cell)]
    return {match and (match["before"] or match["after"]) for match in found}

"""Delimited text, such as CSV: the names of its columns, and its rows of cells.

What can be read in one way only is read: encoding, compression and separator are found by looking; comments, blank
lines and trailing separators are skipped. What could be read in two ways raises ValueError, with the line and what to
do. Lines count from 1.
"""

import bz2
import csv
import gzip
import lzma
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pushforward.data.cells import INTEGER, is_integer, is_missing, is_number

SEPARATORS = ("\t", ";", "|", ",", " ")  # where two fit equally well, the first; " " is any run of blanks
SAMPLE = 200  # rows by which a separator, and a header, are judged
MARKS = {  # the first bytes of a file -> its encoding; longer marks first
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
PACKED = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ": lzma}  # the first bytes -> what decompresses
COMMENTS = ("#", "%")


class Row(NamedTuple):
    """A row of cells, without blanks around them, and the line where it begins."""

    line: int
    cells: list[str]


class Delimited(NamedTuple):
    """A file's names of columns, None where it has none, and its rows, each with a cell for every column."""

    names: list[str] | None
    rows: list[Row]


def read_delimited(path: Path, header: bool | None = None) -> Delimited:
    """The cells of a file of delimited text. `header` says whether its first row is of names; None: find out.

    Raises ValueError where there are no rows, rows differ in length, or it is not clear whether there is a header.
    """
    lines = read_text(path).split("\n")
    separator = None
    if lines[0].lower().startswith("sep=") and len(lines[0].strip()) == 5:  # as spreadsheets write
        separator, lines[0] = lines[0].strip()[4], ""
    notes = [(line, text) for line, text in enumerate(lines, 1) if text.lstrip().startswith(COMMENTS)]
    for line, _ in notes:
        lines[line - 1] = ""
    separator = separator or _separator(lines)
    rows = list(_rows(lines, separator))
    if not rows:
        raise ValueError("the file holds no rows.")
    names, first = None, rows[0].line
    quoted = [lines[row.line - 1].lstrip().startswith('"') for row in rows[:2]] == [True, False]
    if has_header(rows, quoted) if header is None else header:
        names, rows = rows[0].cells, rows[1:]
    if not rows:
        raise ValueError("the file holds no rows, only names of columns.")
    names, rows = _of_one_length(names, rows, row_names=separator in " \t")
    names = names and [" ".join(name.split()) for name in names]
    if names is None and header is None:
        names = _named_in_a_comment([text for line, text in notes if line < first], separator, len(rows[0].cells))
    return Delimited(names, rows)


def read_text(path: Path) -> str:
    """The text of a file, decompressed and decoded, its lines ended by newlines.

    It is UTF-8, UTF-16 or UTF-32 by its mark; without one UTF-8, or else Windows' Latin alphabet.
    """
    data = path.read_bytes()
    while module := next((module for start, module in PACKED.items() if data.startswith(start)), None):
        try:
            data = module.decompress(data)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(f"the file is compressed, and cut short or damaged: {error}.") from error
    if data.startswith(b"PK\x03\x04"):
        raise ValueError("the file is a zip archive or a spreadsheet. Unpack it, or save the table as CSV.")
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), None)
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding or not data[: error.start].isascii():  # Latin text before is no UTF-8 by chance
            raise ValueError(
                f"the file begins as {encoding or 'utf-8'} and goes on as something else. Save it as UTF-8."
            ) from error
        text = data.decode("cp1252", errors="replace")
    if "\0" in text:
        raise ValueError("the file holds NUL characters: it is not text, or UTF-16 without a mark. Save it as UTF-8.")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _rows(lines: Iterable[str], separator: str) -> Iterator[Row]:
    """The rows that hold anything."""
    lines = (" ".join(line.split()) if separator == " " else line for line in lines)
    lines = (line + "\n" for line in lines)
    reader, line = csv.reader(lines, delimiter=separator, skipinitialspace=True), 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line} is not delimited text: {error}.") from error


def _separator(lines: Sequence[str]) -> str:
    """The separator by which most rows have one length, above 1; among such, by which most cells are numbers."""
    sample, fits = [line for line in lines if line.strip()][:SAMPLE], {}
    for place, separator in enumerate(SEPARATORS):
        rows = [row.cells for row in _rows(sample, separator)]
        length, often = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        if length > 1:
            cells = [cell for row in rows[1:] for cell in row]
            numbers = sum(is_number(cell) or is_missing(cell) for cell in cells)
            fits[separator] = (round(often / len(rows), 2), numbers / max(1, len(cells)), -place)
    return max(fits, key=lambda separator: fits[separator], default=",")


def has_header(rows: Sequence[Row], quoted: bool = False) -> bool:
    """Whether the first row is of names. `quoted`: it begins with a quote, and the second does not.

    It is where text stands above numbers. Numbers are names where they count, as 0, 1, 2 …, above numbers with decimal
    points, or beside the empty name of an index. Raises ValueError where this is not clear.
    """
    first, body = rows[0].cells, [row.cells for row in rows[1:SAMPLE]]
    below = [[row[i] for row in body if i < len(row) and not is_missing(row[i])] for i in range(len(first))]
    above_numbers = [bool(cells) and all(map(is_number, cells)) for cells in below]
    texts = [not is_number(cell) and not is_missing(cell) for cell in first]
    if any(text and over for text, over in zip(texts, above_numbers, strict=True)):
        return all(INTEGER.fullmatch(cell) for cell in first if is_number(cell))  # else a row with a wrong cell
    if any(texts):
        return all(text or is_missing(cell) for text, cell in zip(texts, first, strict=True))
    names = [cell for cell in first if not is_missing(cell)]
    if not body or not _counting(names) or any(is_missing(cell) for cell in first[1:]):
        return False
    index = is_missing(first[0]) and _counting(below[0]) and len(below[0]) == len(body)
    whole = any(all(map(is_integer, row[len(first) - len(names) :])) for row in body)
    if index or quoted or (len(names) > 1 and not whole):
        return True
    if names[0] == "0":
        raise ValueError(
            f"line {rows[0].line} holds {', '.join(names)}: these are names of columns or numbers. Say --header True "
            "or --header False, in Python header=."
        )
    return False


def _counting(cells: Sequence[str]) -> bool:
    """Whether cells are a, a + 1, a + 2 …, written as integers."""
    if not cells or not all(cell.isascii() and cell.isdigit() for cell in cells):
        return False
    return [int(cell) for cell in cells] == list(range(int(cells[0]), int(cells[0]) + len(cells)))


def _of_one_length(names: list[str] | None, rows: list[Row], *, row_names: bool) -> tuple[list[str] | None, list[Row]]:
    """Names and rows of one length, without trailing empty cells. `row_names`: these may be a column without a name."""
    columns = len(names) if names else Counter(len(row.cells) for row in rows).most_common(1)[0][0]
    if row_names and names and all(len(row.cells) == columns + 1 and row.cells[-1] for row in rows):
        return ["", *names], rows  # as R writes tables
    while columns > 1 and not (names and names[columns - 1]) and not any(any(row.cells[columns - 1 :]) for row in rows):
        columns -= 1
    for row in rows:
        if len(row.cells) < columns or any(row.cells[columns:]):
            raise ValueError(
                f"line {row.line} has {len(row.cells)} of the table's {columns} columns. Complete it, or put "
                "cells that hold the separator into quotes."
            )
        del row.cells[columns:]
    return names[:columns] if names else None, rows


def _named_in_a_comment(notes: Sequence[str], separator: str, columns: int) -> list[str] | None:
    """The names in the last comment above the rows, where it holds one for each column."""
    if not notes:
        return None
    named = next(_rows([notes[-1].strip().lstrip("".join(COMMENTS))], separator), Row(0, [])).cells
    clear = len(named) == columns == len(set(named)) and not any(is_number(name) or is_missing(name) for name in named)
    return named if clear else None

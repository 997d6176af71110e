"""Tables of named columns of real numbers: CSV and its like, Parquet, npz and npy files."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.arrays import DATES, check_exact
from pushforward.data.arrow import parquet_table
from pushforward.data.cells import Fault, read_numbers
from pushforward.data.data import naming
from pushforward.data.delimited import read_delimited
from pushforward.data.npz import reading
from pushforward.files import is_pattern, matching, replacing
from pushforward.optional import require

DELIMITED = (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat", ".data")
PACKED = (".gz", ".bz2", ".xz")  # after the suffix of delimited text
INDEX = re.compile(r"|Unnamed: 0(\.\d+)*|__index_level_\d+__")  # what pandas calls an index without a name


@dataclass(frozen=True)
class Table:
    """Columns by name, (n,) float64 each, NaN where a value is missing.

    An index that pandas or R wrote is no column, but can be named. `faults` are the columns that cannot be used, and
    why. A row is named by its line in the file, in files without lines by its place; both count from 1.
    """

    columns: dict[str, np.ndarray]
    index: Mapping[str, np.ndarray] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    lines: Sequence[int] | np.ndarray | None = None

    def __post_init__(self):
        shapes = {name: column.shape for name, column in self._known().items()}
        one = len(set(shapes.values())) == 1 and all(len(shape) == 1 for shape in shapes.values())
        if shapes and not (one and len(self)):
            raise ValueError(f"all columns have one length, at least 1; these have {shapes}.")

    def __len__(self) -> int:
        return len(next(iter(self._known().values()))) if self.lines is None else len(self.lines)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, also of those that cannot be used; without an index."""
        return (*self.columns, *(name for name in self.faults if name not in self.index))

    def at(self, row: int) -> str:
        """Where a row, counted from 0, stands in the file: "line 3" or "row 3", counted from 1."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"

    def take(self, names: Sequence[str]) -> np.ndarray:
        """These columns, (n, names). Raises ValueError where one is unknown, not of numbers, or incomplete."""
        self.check(names)
        known = self._known()
        return np.stack([known[name] for name in names], 1)

    def check(self, names: Sequence[str], *, complete: bool = True) -> None:
        """Raise ValueError where `take` would; values may be missing where `complete` is False."""
        known = self._known()
        self.check_names(names)
        if wrong := [name for name in names if name in self.faults]:
            kind = ", with others of its kind" if len(wrong) > 1 else ""
            raise ValueError(f"{self.faults[wrong[0]]} Or leave it out{kind}: --drop {' '.join(map(quoted, wrong))}.")
        for name in names:
            lost = np.flatnonzero(np.isnan(known[name]))
            if complete and len(lost):
                raise ValueError(
                    f"column {name!r} has no value at {self.at(lost[0])}{others(len(lost) - 1)}. Leave such rows out "
                    f"by --missing drop, or the column by --drop {quoted(name)}."
                )
            lost = np.flatnonzero(np.isinf(known[name]))
            if len(lost):
                raise ValueError(
                    f"column {name!r} is infinite at {self.at(lost[0])}{others(len(lost) - 1)}. Correct such rows, or "
                    f"leave the column out: --drop {quoted(name)}."
                )

    def check_names(self, names: Sequence[str]) -> None:
        """Raise ValueError where a column is unknown."""
        known = self._known()
        for name in names:
            if name not in known and name not in self.faults:
                raise ValueError(f"there is no column {name!r}; there are {', '.join(self.names)}.")

    def complete(self, names: Sequence[str]) -> Table:
        """The rows where none of these columns has a missing value."""
        self.check(names, complete=False)
        known = self._known()
        whole = ~np.isnan(np.stack([known[name] for name in names], 1)).any(1)
        if not whole.any():
            raise ValueError("every row has a missing value. Leave out the columns that have most of them: --drop.")
        return self.part(np.flatnonzero(whole))

    def part(self, rows: np.ndarray) -> Table:
        """These rows, which keep their lines."""
        lines = np.arange(1, len(self) + 1) if self.lines is None else np.asarray(self.lines)
        kept = {name: column[rows] for name, column in self.columns.items()}
        return replace(
            self, columns=kept, index={name: column[rows] for name, column in self.index.items()}, lines=lines[rows]
        )

    def _known(self) -> dict[str, np.ndarray]:
        return {**self.index, **self.columns}


def read_table(path: str | Path, header: bool | None = None) -> Table:
    """The table in a file. Raises ValueError, naming the file, where it can be read in two ways, or not at all.

        .csv .tsv .psv .txt .dat …      delimited text (`data.delimited`), also compressed: .csv.gz, .bz2, .xz
        .parquet                        numbers, booleans and decimals
        .npz                            an array (n,) is a column under its name, x (n, k) is the columns x0, x1, …
        .npy                            an array (n, k) is the columns x0, x1, …; or fields of a structured array (n,)

    Text without names of columns gets x0, x1, …; `header` says whether its first row is of names, where that is not
    clear. Cells that are empty or hold words such as NA are missing values. A path may be a pattern of one file.
    """
    path = Path(path)
    if is_pattern(path):
        path = _only_one(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}.")
    readers = {".parquet": _parquet, ".pq": _parquet, ".npz": _npz, ".npy": _npy}
    suffix = _suffix(path)
    if path.is_dir() or not (suffix in readers or suffix in DELIMITED):
        kinds = ", ".join((*DELIMITED, *readers))
        raise ValueError(f"{path} ends in {suffix!r}; a table is a file that ends in {kinds}, or in .csv.gz.")
    with naming(path):
        return readers[suffix](path) if suffix in readers else _delimited(path, header)


def _only_one(pattern: Path) -> Path:
    """The file that a pattern matches. Raises FileNotFoundError for none, ValueError for several."""
    found = matching(pattern)
    if not found:
        raise FileNotFoundError(f"no file matches {pattern}.")
    if len(found) > 1:
        raise ValueError(
            f"a table is one file, and {pattern} matches {len(found)}, {found[0]} … {found[-1]}. Join them first."
        )
    return found[0]


def write_table(columns: Mapping[str, np.ndarray], path: Path) -> None:
    """Write columns (n,) as .csv, .tsv, .parquet or .npz, whole or not at all. Integers have no decimal point."""
    check_writable(path)
    columns = {name: _whole(column) for name, column in columns.items()}
    with replacing(path) as begun:
        if path.suffix == ".parquet":
            arrow = require("pyarrow", "data")
            require("pyarrow.parquet", "data").write_table(arrow.table(dict(columns)), begun)
        elif path.suffix == ".npz":
            with zipfile.ZipFile(begun, "w") as archive:  # numpy.savez takes some names for its own arguments
                for name, column in columns.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(file, column, allow_pickle=False)
        else:
            _write_text(columns, begun, "\t" if path.suffix == ".tsv" else ",")


def check_writable(path: Path) -> None:
    """Raise ValueError where `write_table` does not write such files."""
    if path.suffix not in (".csv", ".tsv", ".parquet", ".npz"):
        raise ValueError(f"a table is written as .csv, .tsv, .parquet or .npz; got {path}.")
    if path.suffix == ".parquet":
        require("pyarrow", "data")


def others(n: int) -> str:
    """The end of a remark on one row, where it holds for n other rows."""
    return f" and {n:,} other row{'s' if n > 1 else ''}" if n else ""


def quoted(name: str) -> str:
    """A name as one types it on a command line."""
    return name if name.replace("_", "").isalnum() else repr(name)


def _suffix(path: Path) -> str:
    """The suffix in small letters, without that of a compression."""
    *_, last = ("", *path.suffixes)
    return (Path(path.stem).suffix if last.lower() in PACKED else last).lower()


def _delimited(path: Path, header: bool | None) -> Table:
    names, rows = read_delimited(path, header)
    names = names or [f"x{i}" for i in range(len(rows[0].cells))]
    _check_names(names)
    lines = [row.line for row in rows]
    values = dict(zip(names, read_numbers(list(zip(*(row.cells for row in rows), strict=True))), strict=True))
    columns = {name: column for name, column in values.items() if isinstance(column, np.ndarray)}
    faults = {
        name: f"column {name!r} holds {fault.what}, at line {lines[fault.row]}. {fault.remedy}."
        for name, fault in values.items()
        if isinstance(fault, Fault)
    }
    return _without_index(columns, faults, lines)


def _without_index(
    columns: dict[str, np.ndarray], faults: dict[str, str], lines: Sequence[int] | None, named: Collection[str] = ()
) -> Table:
    """The table, its indices apart: those in `named`, and those without a name of their own."""
    index = {name: columns.pop(name) for name in list(columns) if name in named or INDEX.fullmatch(name)}
    if "" in index:
        values = index[""]
        if len(set(values.tolist())) < len(values) or (values != np.floor(values)).any():
            raise ValueError("the first column has no name, and its values are no index. Give it a name.")
    faults = {name: why for name, why in faults.items() if name not in named and not INDEX.fullmatch(name)}
    return Table(columns, index, faults, lines)


def _check_names(names: Sequence[str]) -> None:
    """Raise ValueError where columns share a name, or one other than the first has none."""
    for name, times in Counter(names).items():
        if times > 1 and name:
            places = ", ".join(str(i) for i, other in enumerate(names, 1) if other == name)
            raise ValueError(f"columns {places} are all named {name!r}. Give each column a name of its own.")
    if "" in names[1:]:
        raise ValueError(f"column {names.index('', 1) + 1} has no name. Give each column a name of its own.")


def _parquet(path: Path) -> Table:
    table, types = parquet_table(path), require("pyarrow", "data").types
    _check_names(table.column_names)
    indices = _indices_by_pandas(table.schema.metadata or {})
    columns, faults = {}, {}
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
            try:
                check_exact(table[name].drop_null().to_numpy(), f"column {name!r}")
                columns[name] = table[name].cast("float64" if not types.is_boolean(kind) else "uint8").to_numpy()
                columns[name] = columns[name].astype(np.float64)
            except ValueError as error:
                faults[name] = str(error)
        else:
            faults[name] = _no_numbers(name, kind)
    if not table.num_rows:
        raise ValueError("the file holds no rows.")
    return _without_index(columns, faults, None, indices)


def _indices_by_pandas(metadata: Mapping[bytes, bytes]) -> set[str]:
    """The columns that pandas wrote as an index."""
    try:
        return {name for name in json.loads(metadata[b"pandas"])["index_columns"] if isinstance(name, str)}
    except (ValueError, KeyError, TypeError):
        return set()


def _npz(path: Path) -> Table:
    with reading(path) as arrays:
        return _of_arrays([pair for name, array in arrays.items() for pair in _columns_of(array, name)])


def _npy(path: Path) -> Table:
    return _of_arrays(_columns_of(read_npy(path), "x"))


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy file. Raises ValueError where it is not complete, or one of Python objects."""
    try:
        return np.load(path)
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError, MemoryError):
        raise ValueError("this is not a complete npy file, or one of Python objects.") from None


def _columns_of(array: np.ndarray, name: str) -> list[tuple[str, np.ndarray]]:
    """The columns in an array, each with its name: (n,), (n, k), or the fields of a structured array."""
    if array.dtype.names:
        return [(field, array[field]) for field in array.dtype.names]
    return [(f"{name}{i}", part) for i, part in enumerate(array.T)] if array.ndim == 2 else [(name, array)]


def _of_arrays(columns: Sequence[tuple[str, np.ndarray]]) -> Table:
    if not columns:
        raise ValueError("the file holds no columns.")
    _check_names([name for name, _ in columns])
    numbers, faults = {}, {}
    for name, column in columns:
        try:
            numbers[name] = _numbers(column, name)
        except ValueError as error:
            faults[name] = str(error)
    return Table(numbers, {}, faults)


def _numbers(column: np.ndarray, name: str) -> np.ndarray:
    """A column of numbers as float64. Raises ValueError where it holds others, or integers that are rounded."""
    if column.dtype.kind not in "iufb":
        raise ValueError(_no_numbers(name, column.dtype))
    check_exact(column, f"column {name!r}")
    return column.astype(np.float64)


def _no_numbers(name: str, kind: Any) -> str:
    remedy = "For a category number its values 0, 1, …, and give --supports NAME=integers:0:LAST."
    if re.match("(timestamp|date|time|duration)", str(kind)):
        remedy = DATES
    elif re.match("(fixed_size_|large_)?list|struct|map", str(kind)):
        remedy = "Write each element of it as a column."
    return f"column {name!r} holds {kind}, and a flow takes numbers. {remedy}"


def _whole(column: np.ndarray) -> np.ndarray:
    """A column of whole numbers as integers; any other as it is."""
    whole = column.dtype.kind == "f" and np.isfinite(column).all() and (column == np.floor(column)).all()
    return column.astype(np.int64) if whole and (np.abs(column) < 2**53).all() else column


def _write_text(columns: Mapping[str, np.ndarray], path: Path, separator: str) -> None:
    import csv

    cells: Iterable[Sequence[str]] = zip(*(column.astype(str).tolist() for column in columns.values()), strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(cells)

"""Tables of named columns of real numbers: CSV, Parquet and npz files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pushforward.data.data import naming
from pushforward.optional import require


@dataclass(frozen=True)
class Table:
    """Columns by name, (n,) float64 each."""

    columns: dict[str, np.ndarray]

    def __post_init__(self):
        shapes = {name: column.shape for name, column in self.columns.items()}
        if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()) or not len(self):
            raise ValueError(f"all columns have one length, at least 1; these have {shapes}.")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, names: Sequence[str]) -> np.ndarray:
        """These columns, (n, names)."""
        for name in names:
            if name not in self.columns:
                raise ValueError(f"there is no column {name!r}; there are {', '.join(self.columns)}.")
        return np.stack([self.columns[name] for name in names], 1)


def read_table(path: Path) -> Table:
    """The table in a .csv, .parquet or .npz file. Raises ValueError, naming the file, where a cell is not a number.

    A CSV without a header gets the columns x0, x1, … In an npz, an array (n,) is a column under its name, and an array
    x of shape (n, k) is the columns x0, x1, …
    """
    readers = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}
    if path.suffix not in readers:
        raise ValueError(f"{path} ends in {path.suffix!r}; a table ends in {', '.join(readers)}.")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}.")
    with naming(path):
        return Table(readers[path.suffix](path))


def _csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        first, second = next(csv.reader(file), []), file.readline()
    named = not all(map(_is_number, first))
    if not first or (named and not second.strip()):
        raise ValueError("the file holds no rows.")
    values = np.loadtxt(path, delimiter=",", skiprows=int(named), ndmin=2, comments=None, quotechar='"')
    names = [name.strip() for name in first] if named else [f"x{i}" for i in range(len(first))]
    if len(set(names)) != values.shape[1]:
        raise ValueError(
            f"there are {values.shape[1]} columns, and the header is {', '.join(names)}. Give each column one name."
        )
    return dict(zip(names, values.T, strict=True))


def _parquet(path: Path) -> dict[str, np.ndarray]:
    table = require("pyarrow.parquet", "data").read_table(path)
    return {name: _real(name, table[name].to_numpy()) for name in table.column_names}


def _npz(path: Path) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    with np.load(path) as arrays:
        for name, array in arrays.items():
            columns |= {f"{name}{i}": part for i, part in enumerate(array.T)} if array.ndim == 2 else {name: array}
    return {name: _real(name, column) for name, column in columns.items()}


def _real(name: str, column: np.ndarray) -> np.ndarray:
    if column.dtype.kind not in "iufb":
        raise ValueError(f"the column {name} holds {column.dtype}, and a flow takes numbers. Remove it.")
    return column.astype(np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True

"""Encoded images in tables: Parquet files, and data sets of the Hugging Face `datasets` library, local or on its hub.

Both are Arrow tables with a column of encoded images, either bytes or {bytes, path}, and optionally a column `label` of
integers or names. A Parquet file is read into memory, still encoded; a set of `datasets` is memory-mapped. So
open Parquet files larger than memory as hf:folder.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pushforward.data.data import naming
from pushforward.data.encoded import Encoded, OnDemand, Shape
from pushforward.data.images import Images, from_names, from_zero
from pushforward.data.splits import REMEDY, NoSplitError, chosen
from pushforward.optional import require

LABELS = ("label", "labels")  # names of the column of labels


class Cell(NamedTuple):
    """An encoded image in a column of a table."""

    column: Any
    row: int
    source: str

    def read(self) -> bytes:
        cell = self.column[self.row].as_py()
        if isinstance(cell, dict):
            path = cell.get("path")
            cell = Path(path).read_bytes() if cell["bytes"] is None and path else cell["bytes"]
        if cell is None:
            raise ValueError(f"{self} holds no image.")
        return cell

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}"


def cells(column: Any, source: str) -> OnDemand[Cell]:
    """The encoded images that are the cells of a column."""
    return OnDemand(len(column), lambda row: Cell(column, row, source))


def read_parquet(paths: Sequence[Path], *, beside: Sequence[Path] = (), image: Shape | None = None) -> Images:
    """The images in Parquet files, in the order of files and rows; `beside` are the files of the other splits."""
    pyarrow, source = require("pyarrow", "data"), ", ".join(map(str, paths))
    tables, others = [parquet_table(path) for path in paths], [parquet_table(path, LABELS) for path in beside]
    try:
        return _images(pyarrow.concat_tables(tables), source, image, others)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{source} do not have the same columns: {error}") from error


def parquet_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """The Arrow table in a Parquet file, or only these columns, where it has them."""
    parquet = require("pyarrow.parquet", "data")
    try:
        with parquet.ParquetFile(path) as file:
            return file.read(columns)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: this is not a complete Parquet file: {error}") from error


def read_hugging_face(name: str, split: str, *, image: Shape | None = None) -> Images:
    """The images of a set that the library `datasets` opens: "owner/name" on the hub, or a local folder."""
    table = hugging_face_table(name, split)
    label, beside = _label(table), []
    if label and _are_words(table.schema.field(label).type):
        splits = _splits(name)
        others = (read() for word, read in splits.items() if word != chosen(split, splits))
        beside = [rows.select_columns(label).with_format("arrow")[:] for rows in others if label in rows.column_names]
    return _images(table, f"hf:{name}", image, beside)


def hugging_face_table(name: str, split: str) -> Any:
    """A split of a set that the library `datasets` opens, as an Arrow table."""
    try:
        splits = _splits(name)
        word = chosen(split, splits)
        if word is None:
            raise NoSplitError(f"hf:{name} has no split {split!r}; it has {', '.join(splits)}. {REMEDY}")
        return splits[word]().with_format("arrow")[:]
    except NoSplitError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"the library datasets cannot open hf:{name}, split {split!r}: {error}") from error


def _splits(name: str) -> dict[str, Callable[[], Any]]:
    """A function for each split of a set of the library `datasets`, which opens it."""
    datasets = require("datasets", "data")
    if any((Path(name) / file).exists() for file in ("state.json", "dataset_dict.json")):
        found = datasets.load_from_disk(name)
        found = found if isinstance(found, datasets.DatasetDict) else {"train": found}
        return {word: partial(found.__getitem__, word) for word in found}
    words = datasets.get_dataset_split_names(name)
    return {word: partial(datasets.load_dataset, name, split=word) for word in words}


def _images(table: Any, source: str, image: Shape | None, beside: Sequence[Any]) -> Images:
    """The images of a table; `beside` are those of the other splits, which share its classes."""
    types = require("pyarrow", "data").types
    columns = dict(zip(table.column_names, table.schema.types, strict=True))
    kinds = (
        types.is_binary,
        types.is_large_binary,
        lambda kind: types.is_struct(kind) and kind.get_field_index("bytes") >= 0,
    )
    blobs = [name for name, kind in columns.items() if any(is_cell(kind) for is_cell in kinds)]
    named = [name for name in blobs if name in ("image", "img")] or blobs
    if len(named) != 1 or not len(table):
        listed = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
        raise ValueError(
            f"{source} has {len(table)} rows of {listed}; expected at least one row, and one column of encoded images, "
            "named image where there are several."
        )
    images = Encoded(cells(table[named[0]], source), image=image)
    label = _label(table)
    if label is None:
        return Images(images)
    kind = columns[label].value_type if types.is_dictionary(columns[label]) else columns[label]
    by_name = _are_words(columns[label])
    if not (types.is_integer(kind) or by_name) or table[label].null_count:
        raise ValueError(
            f"in {source} the column {label} is of {columns[label]}, {table[label].null_count} of them missing; "
            "labels are integers or names, one for each image."
        )
    others = [other[label].to_pylist() for other in beside if label in other.column_names]
    elsewhere: list[Any] = [each for part in others for each in part if isinstance(each, str if by_name else int)]
    with naming(source):
        if by_name:
            labels, names = from_names(table[label].to_pylist(), elsewhere)
        else:
            labels = torch.from_numpy(table[label].cast("int64").to_numpy().astype("int64"))
            labels, names = from_zero(labels, elsewhere)
        names = _names(table, label) or names
        return Images(images, labels, classes=len(names), names=names)


def _are_words(kind: Any) -> bool:
    """Whether cells of this Arrow type are strings, or numbers of strings."""
    types = require("pyarrow", "data").types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind)


def _label(table: Any) -> str | None:
    return next((name for name in LABELS if name in table.column_names), None)


def _names(table: Any, label: str) -> tuple[str, ...]:
    """The names of the classes in the file's metadata; () where it has none."""
    try:
        names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, names or ()))

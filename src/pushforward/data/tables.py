"""Encoded images in tables: Parquet files, and data sets of the Hugging Face `datasets` library, local or on its hub.

Both are Arrow tables with a column of encoded images, either bytes or {bytes, path}, and perhaps a column `label` of
integers. A Parquet file is read into memory, still encoded; a set of `datasets` stays on disk, mapped into memory, so
that Parquet files larger than memory are best opened as hf:folder.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pushforward.data.encoded import Blobs, Encoded, Shape
from pushforward.data.images import Images


class Cells(Blobs):
    """Encoded images that are the cells of a column."""

    def __init__(self, column: Any, source: str):
        self.column, self.source = column, source

    def __len__(self) -> int:
        return len(self.column)

    def read(self, i: int) -> bytes:
        cell = self.column[i].as_py()
        if isinstance(cell, dict):
            cell = Path(cell["path"]).read_bytes() if cell["bytes"] is None and cell["path"] else cell["bytes"]
        if cell is None:
            raise ValueError(f"{self.name(i)} holds no image.")
        return cell

    def name(self, i: int) -> str:
        return f"{self.source}, row {i}"


def read_parquet(paths: Sequence[Path], *, image: Shape | None = None) -> Images:
    """The images in Parquet files, in the order of the files and of their rows."""
    pyarrow, parquet = _needed("pyarrow"), _needed("pyarrow.parquet")
    tables = []
    for path in paths:
        try:
            tables.append(parquet.read_table(path))
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is not a whole Parquet file: {error}") from error
    source = ", ".join(map(str, paths))
    try:
        return _images(pyarrow.concat_tables(tables), source, image)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{source} do not have the same columns: {error}") from error


def read_hugging_face(name: str, split: str, *, image: Shape | None = None) -> Images:
    """The images of a set that the library `datasets` opens: "owner/name" on the hub, or a local folder."""
    datasets = _needed("datasets")
    try:
        if any((Path(name) / file).exists() for file in ("state.json", "dataset_dict.json")):
            found = datasets.load_from_disk(name)
            found = found if isinstance(found, datasets.DatasetDict) else {"train": found}
        else:
            found = {split: datasets.load_dataset(name, split=split)}
    except (OSError, ValueError) as error:
        raise ValueError(f"the library datasets cannot open hf:{name}, split {split!r}: {error}") from error
    if split not in found:
        raise ValueError(f"hf:{name} has no split {split!r}; it has {', '.join(found)}.")
    return _images(found[split].with_format("arrow")[:], f"hf:{name}", image)


def _images(table: Any, source: str, image: Shape | None) -> Images:
    types = _needed("pyarrow").types
    columns = dict(zip(table.column_names, table.schema.types, strict=True))
    blobs = [
        name
        for name, kind in columns.items()
        if types.is_binary(kind)
        or types.is_large_binary(kind)
        or (types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
    ]
    named = [name for name in blobs if name in ("image", "img")] or blobs
    if len(named) != 1 or not len(table):
        listed = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
        raise ValueError(
            f"{source} has {len(table)} rows of {listed}; expected at least one row, and one column of encoded images, "
            "named image where there are several."
        )
    images = Encoded(Cells(table[named[0]], source), image=image)
    label = next((name for name in ("label", "labels") if name in columns), None)
    if label is None:
        return Images(images)
    if not types.is_integer(columns[label]) or table[label].null_count:
        raise ValueError(
            f"in {source} the column {label} is of {columns[label]}, {table[label].null_count} of them missing; "
            "labels are integers, one for each image."
        )
    labels = torch.from_numpy(table[label].to_numpy().astype("int64"))
    return Images(images, labels, classes=_class_names(table, label) or int(labels.max()) + 1)


def _class_names(table: Any, label: str) -> int:
    """How many classes the set's author named, who may not have an image of each here; 0 where none are."""
    noted = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return len(noted.get("info", {}).get("features", {}).get(label, {}).get("names", ()))


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(f"this kind of data needs {missing.name}: pip install 'pushforward[data]'.") from None

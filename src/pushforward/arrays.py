"""Tensors and sizes from what users have: tensors, numpy arrays, tables of pandas, lists, numbers."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Distribution

EXACT = 2**53  # the largest of the integers from 0 on that float64 has all of
NEARER = "Subtract a number near them all"
DATES = "Give dates and times as numbers, such as days since the first of them."
CATEGORY = (
    "For a category number its values 0, 1, …, and give it the support Integers; embed a text first, as by "
    "data.TextEncoder; or leave it out."
)
WIDE = {"longdouble": "float64", "float96": "float64", "float128": "float64", "complex256": "complex128"}
UNSIGNED = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}  # of which torch has only the names
UNSIGNED_DTYPES = {getattr(torch, name) for name in UNSIGNED}


def as_tensor(values: Any, name: str = "the array") -> Tensor:
    """A tensor of these numbers in their own precision, float64 for Python's floats. It shares memory where it can.

    Arrays of any byte order, strides and access are taken; numbers wider than float64 become float64. Raises
    ValueError, with `name`, where values are not numbers, where entries of a masked array are masked (what is stored in
    their place is not data), and where float64 would round integers of a table.

    >>> import numpy as np
    >>> as_tensor(np.array([1, 2], dtype=">i2"))
    tensor([1, 2], dtype=torch.int16)
    """
    if isinstance(values, Tensor):
        if type(values).__name__ == "MaskedTensor":
            raise ValueError(f"{name} is a MaskedTensor: drop its masked rows, and give a tensor.")
        if values.layout != torch.strided:
            raise ValueError(f"{name} is a sparse tensor, and a flow takes dense ones: give its to_dense().")
        return _signed(values.cpu().numpy(), name) if values.dtype in UNSIGNED_DTYPES else values
    if isinstance(values, int | float):
        return torch.tensor(values, dtype=torch.float64 if isinstance(values, float) else None, device="cpu")
    if isinstance(values, list | tuple):
        first = next(iter(values), None)
        if isinstance(first, Tensor):
            return torch.stack([as_tensor(row, name) for row in values])
        if isinstance(first, np.ma.MaskedArray):
            values = np.ma.stack(values)
    if isinstance(values, np.ma.MaskedArray):
        values = _unmasked(values, name)
    if (columns := columns_of(values)) is not None:
        values = _of_columns(columns, name) if columns else np.empty((len(values), 0))
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths, which are no array.") from None
    if array.dtype.names:
        raise ValueError(
            f"{name} is a structured array with the fields {', '.join(array.dtype.names)}. Give one array of them: "
            "numpy.stack([x[field] for field in fields], -1)."
        )
    return _signed(_numbers(array, name), name)


def _signed(array: np.ndarray, name: str) -> Tensor:
    """An array as a tensor; unsigned integers, of which torch has only the names, as signed ones that hold them."""
    kind = (WIDE | UNSIGNED).get(array.dtype.name, array.dtype.newbyteorder("="))
    if array.dtype.name == "uint64" and array.size and array.max() > torch.iinfo(torch.int64).max:
        raise ValueError(f"{name} holds {array.max()}, which is beyond torch's integers. {NEARER}.")
    return torch.from_numpy(np.require(array.astype(kind, copy=False), requirements=["C", "W"]))


def as_real_tensor(values: Any, name: str) -> Tensor:
    """`as_tensor`, of real numbers alone: a cast of complex ones would drop their imaginary parts."""
    found = as_tensor(values, name)
    if found.is_complex():
        raise ValueError(f"{name} takes real numbers; got {found.dtype}. Give its .real part.")
    return found


def check_real(x: Tensor, name: str = "x") -> None:
    """Raise ValueError, with `name`, where these are no real numbers of floating point, as events are."""
    if not x.is_floating_point():
        remedy = "real and imaginary parts apart" if x.is_complex() else f"{name}.double(), or encode it by a codec"
        raise ValueError(f"this flow takes real events; {name} is {x.dtype}. Give {remedy}.")


def tensor_for(flow: Any, values: Any, name: str = "x") -> Tensor:
    """A tensor as it is, wherever it is; other arrays as a tensor on the flow's device."""
    found = as_tensor(values, name)
    return found if isinstance(values, Tensor) else moved(found, flow.device)


def moved(t: Tensor, device: torch.device) -> Tensor:
    """The tensor on this device; in float32 where the device has no float64."""
    return t.to(device, torch.float32 if device.type == "mps" and t.dtype == torch.float64 else t.dtype)


def _unmasked(values: np.ma.MaskedArray, name: str) -> np.ndarray:
    """The data of an array in which nothing is masked."""
    masked = np.ma.getmaskarray(values)
    if masked.any():
        rows = masked.reshape(len(masked), -1).any(1).nonzero()[0] if masked.ndim else [0]
        raise ValueError(
            f"{name} is a masked array, and {masked.sum():,} of its entries are masked, in {len(rows):,} rows, the "
            f"first in row {rows[0]}: they hold no data. Drop these rows, or give values for them by `.filled(…)`."
        )
    return values.data


def columns_of(table: Any) -> list[tuple[Any, Any]] | None:
    """The columns of a table of pandas, polars, pyarrow or astropy, with their labels; None of what is no table."""
    names = getattr(table, "colnames", getattr(table, "column_names", None))  # of astropy, of pyarrow
    if names is None and hasattr(table, "columns"):
        if hasattr(table, "iloc"):  # pandas, where labels may repeat
            return [(label, table.iloc[:, i]) for i, label in enumerate(table)]
        names = table.columns if hasattr(table, "get_column") else None  # polars
    return None if names is None else [(label, table[label]) for label in names]


def _of_columns(columns: Sequence[tuple[Any, Any]], name: str) -> np.ndarray:
    """The columns of a table, (n, columns), of one type."""
    named = [(f"column {label!r} of {name}", column) for label, column in columns]
    found = [_numbers(np.asarray(_unmasked(c, of) if isinstance(c, np.ma.MaskedArray) else c), of) for of, c in named]
    for (of, _), column in zip(named, found, strict=True):
        if column.ndim != 1:
            raise ValueError(f"{of} has elements of shape {column.shape[1:]}. Give each of their elements a column.")
        if len({each.dtype.kind for each in found}) > 1:
            check_exact(column, of)
    return np.stack(found, -1)


def check_exact(integers: np.ndarray | Tensor, name: str) -> None:
    """Raise ValueError where float64 would round integers; other arrays are left alone."""
    array = np.asarray(integers)
    if array.dtype.kind in "iu" and array.size and max(int(array.max()), -int(array.min())) > EXACT:
        raise ValueError(f"{name} holds {rounded(array.flat[abs(array).argmax()])}. {NEARER}.")


def rounded(integer: object) -> str:
    """What a column holds that has this integer, which float64 does not have; the remedy is `NEARER`."""
    return f"integers beyond 2**53, such as {integer}, which float64 rounds"


def _numbers(array: np.ndarray, name: str) -> np.ndarray:
    """An array of a numeric type. Raises ValueError where values are not numbers, with the first and a remedy."""
    if array.dtype == object and array.ndim:
        array = _real(array, name)
    if array.dtype == object:
        remedy = " Draw from it by its sample." if isinstance(array.item(), Distribution) else ""
        raise ValueError(
            f"{name} is of type {type(array.item()).__name__}, and a flow takes arrays of numbers.{remedy}"
        )
    if array.dtype.kind not in "biufc":
        words = array.dtype.kind in "US"
        held = repr(str(array.flat[0])) if words and array.size else str(array.dtype)
        remedy = CATEGORY if words else DATES if array.dtype.kind in "mM" else "Convert it."
        raise ValueError(f"{name} holds {held}, and a flow takes numbers. {remedy}")
    return array


def _real(array: np.ndarray, name: str) -> np.ndarray:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        place, value = next((place, value) for place, value in np.ndenumerate(array) if not _is_real(value))
        missing, date = str(value) in ("<NA>", "NaT"), hasattr(value, "isoformat") or hasattr(value, "total_seconds")
        remedy = "Leave rows with missing values out." if missing else DATES if date else CATEGORY
        where = f"row {place[0]}" + "".join(f", column {i}" for i in place[1:])
        raise ValueError(f"{name} holds {value!r} in {where}, which is no number. {remedy}") from None


def _is_real(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def sizes(given: Any, name: str = "shape") -> Size:
    """A size, or a sequence of sizes, as a torch.Size. Raises ValueError where they are not integers from 0 up.

    >>> sizes(np.int64(5)), sizes([2, 3])
    (torch.Size([5]), torch.Size([2, 3]))
    """
    several = isinstance(given, Sequence) or (isinstance(given, np.ndarray | Tensor) and given.ndim == 1)
    try:
        found = [_size(each) for each in (given if several else (given,))]
    except TypeError:
        raise ValueError(f"{name} is an integer, or a tuple of them; got {given!r}.") from None
    if any(size < 0 for size in found):
        raise ValueError(f"{name} has sizes of 0 or more; got {given!r}.")
    return Size(found)  # pyright: ignore[reportArgumentType] - SymInts are ints to torch


def _size(given: Any) -> Any:
    """An int; one that torch.export leaves open stays as it is."""
    if isinstance(given, bool):
        raise TypeError
    return given if isinstance(given, int | torch.SymInt) else operator.index(given)


def check_number(
    value: Any,
    name: str,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    least: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Raise ValueError, with `name`, unless this is one finite real number within these limits.

    >>> check_number(0.0, "the share", least=0, below=1)
    """
    try:
        within = -math.inf < value < math.inf and above < value < below and least <= value <= most
    except (TypeError, ValueError, RuntimeError):  # a word, or an array of several numbers
        within = False
    if not within:
        limits = {"above": above, "of at least": least, "below": below, "at most": most}
        told = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
        raise ValueError(f"{name} is a finite number{told and ' ' + told}; got {value!r}.")


def check_finite(x: Tensor, name: str = "x") -> None:
    """Raise ValueError, with `name`, where an element of a row of x is not finite."""
    lost = (~x[:, None].flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if lost:
        raise ValueError(
            f"{len(lost)} of {len(x)} rows of {name} are not finite, the first is row {lost[0]}. Leave them out."
        )

"""Tensors from what users have: tensors, numpy arrays, tables of pandas, lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

WIDE = {"longdouble": "float64", "float96": "float64", "float128": "float64", "complex256": "complex128"}
UNSIGNED = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}  # of which torch has only the names


def as_tensor(values: Any, name: str = "the array") -> Tensor:
    """A tensor of these numbers in their own precision, float64 for Python's floats. It shares memory where it can.

    Arrays of any byte order, strides and access are taken; numbers wider than float64 become float64. Raises
    ValueError, with `name`, where values are not numbers, and where entries of a masked array are masked: what is
    stored in their place is not data.

    >>> import numpy as np
    >>> as_tensor(np.array([1, 2], dtype=">i2"))
    tensor([1, 2], dtype=torch.int16)
    """
    if isinstance(values, Tensor):
        if type(values).__name__ == "MaskedTensor":
            raise ValueError(f"{name} is a MaskedTensor: drop its masked rows, and give a tensor.")
        return values
    if isinstance(values, int | float):
        return torch.tensor(values, dtype=torch.float64 if isinstance(values, float) else None)
    if isinstance(values, list | tuple):
        first = next(iter(values), None)
        if isinstance(first, Tensor):
            return torch.stack([as_tensor(row, name) for row in values])
        if isinstance(first, np.ma.MaskedArray):
            values = np.ma.stack(values)
    if isinstance(values, np.ma.MaskedArray):
        values = _unmasked(values, name)
    array = np.asarray(values)
    if array.dtype == object:  # columns of several types
        array = _real(array, name)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{name} holds {array.dtype}, and a flow takes numbers.")
    kind = (WIDE | UNSIGNED).get(array.dtype.name, array.dtype.newbyteorder("="))
    return torch.from_numpy(np.require(array.astype(kind, copy=False), requirements=["C", "W"]))


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


def _real(array: np.ndarray, name: str) -> np.ndarray:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds values that are not numbers: {error}.") from None

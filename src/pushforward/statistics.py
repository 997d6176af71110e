"""Location, scale and needed precision of the columns of data, and the units that are measured from them.

The columns of t (batch, features, …) are its features; other dimensions count as rows.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

INTEGERS = 2.0**17  # up to here float32 has 64 values or more between two integers
RESOLVED = 5e-5  # of a column's spread: the rounding that float32 may add
SIZES = 1e-30, 1e30  # spreads whose reciprocals and squares are in the range of float32, or nearly
SORTED = 100_000  # rows that quantiles are taken of


def moments(t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (features,) float64 each, at any size. A feature that does not vary has 1."""
    rows = _columns(t)
    first = rows[:, :1]
    size = (rows - first).abs().amax(1, keepdim=True)
    size = torch.where(size > 0, size, 1.0)
    deviation, mean = torch.std_mean((rows - first) / size, 1, correction=0)
    mean, deviation = (first + size * mean[:, None])[:, 0], size[:, 0] * deviation
    rounding = 4 * torch.finfo(torch.float64).eps * rows.abs().amax(1)
    return mean, torch.where(deviation > rounding, deviation, 1.0)


def central(t: Tensor) -> tuple[Tensor, Tensor]:
    """Median and half the range of the central 68 %, (features,) float64 each: few outliers do not move them.

    The half range of a normal feature is its deviation. Where it is zero, mean and deviation take their place.
    """
    low, middle, high = _quantiles(_columns(t), 0.16, 0.5, 0.84)
    mean, deviation = moments(t)
    varies = high > low
    return torch.where(varies, middle, mean), torch.where(varies, (high - low) / 2, deviation)


def needs_float64(t: Tensor, *, integers: Sequence[int] = ()) -> Tensor:
    """Which features float32 cannot hold, (features,) bool: it rounds them by a noticeable part of their spread, or
    they are beyond its range. Those at the indices `integers` have room for noise between two integers too."""
    rows = _columns(t)
    spread = central(t)[1]
    rounded = rows.float().double()
    found = _quantiles((rounded - rows).abs(), 0.84)[0] > RESOLVED * spread
    found |= ~rounded.isfinite().all(1) | (spread < SIZES[0]) | (spread > SIZES[1])
    for i in (i for i in integers if i < len(rows)):
        found[i] = found[i] | (rows[i].abs().amax() > INTEGERS)
    return found


def narrowed(t: Tensor, *, integers: Sequence[int] = ()) -> Tensor:
    """float64 data in float32, where that holds all features; other data as they are."""
    if t.dtype != torch.float64 or t.dim() < 2 or not len(t) or needs_float64(t, integers=integers).any():
        return t
    return t.float()


def _quantiles(rows: Tensor, *shares: float) -> list[Tensor]:
    """Quantiles of each row, (features,)."""
    rows = rows[:, :: -(-rows.shape[1] // SORTED)].sort(1).values
    return [rows[:, round(share * (rows.shape[1] - 1))] for share in shares]


def _columns(t: Tensor) -> Tensor:
    """(features, rows) in float64."""
    return t.detach().double().transpose(0, 1).flatten(1)


class Measured(nn.Module):
    """Units of features, the buffers `shift` and `log_scale`, measured from data: a base class.

    Measured from float64 data in a module of float32 the shift is float64, and so are the results of what uses it. It
    stays float64 where the module is cast to float32, and where its state is loaded.
    """

    shift: Tensor
    log_scale: Tensor
    statistics: Callable[[Tensor], tuple[Tensor, Tensor]]  # `moments` or `central`

    @torch.no_grad()
    def measure(self, shift: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
        """Set the units, of data of this dtype."""
        if dtype == torch.float64 and not isinstance(self.shift, nn.Parameter):
            self.shift = self.shift.double()
        self.shift.copy_(shift.reshape(self.shift.shape))
        self.log_scale.copy_(scale.log().reshape(self.shift.shape))

    def tell_if_rounded(self, t: Tensor) -> None:
        """Warn where values are narrower than the units, which are float64 because float32 does not hold the data."""
        if self.shift.dtype == torch.float64 and self.log_scale.dtype != torch.float64 and t.dtype != torch.float64:
            warnings.warn(
                f"these values are {t.dtype}, and the flow learned float64 values that float32 does not hold: their "
                "densities are those of rounded values. Give float64.",
                UserWarning,
                stacklevel=2,
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = self.shift, self.log_scale
        super()._apply(fn, recurse)
        if self.shift.dtype != torch.float64 and _are_wide(*before):
            self.shift = before[0].to(self.shift.device)
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        saved = [state_dict.get(prefix + name) for name in ("shift", "log_scale")]
        if all(isinstance(t, Tensor) for t in saved) and _are_wide(*saved):  # pyright: ignore[reportArgumentType]
            self.shift = self.shift.double()
        super()._load_from_state_dict(state_dict, prefix, *rest)  # pyright: ignore[reportArgumentType]


def _are_wide(shift: Tensor, log_scale: Tensor) -> bool:
    """Whether the shift is float64 though the module is not, or float32 would not hold it."""
    if shift.dtype != torch.float64 or isinstance(shift, nn.Parameter) or shift.is_meta:
        return False
    if log_scale.dtype != torch.float64:
        return True
    scale, error = log_scale.exp(), (shift.float().double() - shift).abs()
    inside = (scale > SIZES[0]) & (scale < SIZES[1])
    return not bool(((error <= RESOLVED * scale) & inside).all())

"""Names and letters of shapes.

The first dimension of a tensor is the batch; the others are the event, the shape of one sample.

    B  batch      T  token                        D  feature of a token      W  width of the residual stream
    H  head       P  raw parameter of an element  C, H, W  channel, height, width of an image

The aliases below are documentation: to torch and to the type checker they are tensors.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from pushforward.recording import recorded

Events = Tensor  # (batch, *event)
Tokens = Tensor  # (batch, token, feature)
PerSample = Tensor  # (batch,)
InParts = Iterable[Tensor]  # events in parts along their first axis, (batch, n, …) each

WIDE = torch.float32, torch.float64


def at_least_float32(t: Tensor) -> Tensor:
    """`t` in float32 if its dtype is narrower, the least precision of flow arithmetic. float64 stays float64."""
    return t if t.dtype in WIDE else t.to(torch.promote_types(t.dtype, torch.float32))


def without_autocast(t: Tensor) -> AbstractContextManager:
    """A block without autocast: flow arithmetic multiplies matrices in t's own dtype."""
    return torch.autocast(device_type(t), enabled=False)


def present_autocast(t: Tensor) -> tuple[str, torch.dtype, bool]:
    """What `torch.autocast` takes to be as it is now, on t's device: for a backward pass.

    An object of it that is made in a forward pass stays entered where torch.compile refuses the backward pass.
    """
    kind = device_type(t)
    return kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)


def multiplied_in(t: Tensor) -> torch.dtype:
    """The dtype in which matrices are multiplied by t: its own, or that of autocast, which does not affect float64."""
    if t.dtype != torch.float64 and torch.is_autocast_enabled(device_type(t)):
        return torch.get_autocast_dtype(device_type(t))
    return t.dtype


def device_type(t: Tensor) -> str:
    """The type of t's device, for autocast; that of meta tensors is the CPU's."""
    return "cpu" if t.is_meta else t.device.type


def fits(size: Sequence[int], event: Sequence[int | None]) -> bool:
    """Whether `size` is the shape `event`, in which None stands for any size from 1 on."""
    return len(size) == len(event) and all(
        n > 0 if axis is None else n == axis for n, axis in zip(size, event, strict=True)
    )


def spread(t: PerSample, x: Events) -> Tensor:
    """t (batch,) as (batch, 1, …), which multiplies events."""
    return t.reshape(-1, *(1,) * (x.dim() - 1))


def patchify(x: Events, side: int) -> Tensor:
    """Images in square patches: (B, C, H, W) -> (B, H / side, W / side, C · side²), each (channel, row, column)."""
    x = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, C, H/side, side, W/side, side)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3)


def unpatchify(patches: Tensor, side: int) -> Events:
    """The images that these patches tile: the inverse of `patchify`."""
    patches = patches.unflatten(3, (-1, side, side))  # (B, H/side, W/side, C, side, side)
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def sum_event(t: Events) -> PerSample:
    """The sum over all dimensions but the batch: (batch, *event) -> (batch,). An expanded batch is summed once."""
    if t.stride(0) == 0 and not recorded() and t.shape[0] > 1:
        return t[0].sum().expand(t.shape[0])
    return t.flatten(1).sum(1)

"""An exponential moving average of a module's weights."""

from functools import cached_property

import torch
from torch import Tensor, nn

from pushforward.training.sharding import Mesh, copied, local


class Average:
    """A copy of `module` with averaged weights: average <- decay · average + (1 − decay) · weights, at each step.

    In early steps the decay is (1 + step) / (10 + step), where that is smaller, so that initial weights are forgotten.
    Buffers that a step has changed are copied: a variance that a base has observed belongs to the latents of the
    present weights. Where there is a mesh, the copy holds this process's share of the weights.
    """

    def __init__(self, module: nn.Module, decay: float, mesh: Mesh | None = None):
        self.decay = decay
        self.module = copied(module, mesh).eval()
        self._of = module  # sharded later, where there is a mesh
        self._buffers = [*zip(self.module.buffers(), module.buffers(), strict=True)]
        self._versions = [now._version for _, now in self._buffers]

    def share_at(self, step: int) -> float:
        """1 − decay, at a step."""
        return 1 - min(self.decay, (1 + step) / (10 + step))

    @cached_property
    def _weights(self) -> tuple[list[Tensor], list[Tensor]]:
        """The averaged weights and the present ones, as this process holds them."""
        averaged, present = ([local(p) for p in module.parameters()] for module in (self.module, self._of))
        return averaged, present

    @torch.no_grad()
    def update(self, share: Tensor, taken: Tensor) -> None:
        """Average the weights of a step, by a share of `share_at`. Where the step was not taken nothing changes, and
        buffers of the module that it has changed become again what they were. Both are scalars on the module's device.
        """
        _lerp(*self._weights, share * taken)
        versions = [now._version for _, now in self._buffers]
        for (kept, now), before, after in zip(self._buffers, self._versions, versions, strict=True):
            if after != before:
                kept.copy_(torch.where(taken, now, kept))
                now.copy_(kept)
        self._versions = [now._version for _, now in self._buffers]


def _lerp(tensors: list[Tensor], ends: list[Tensor], share: Tensor) -> None:
    """tensors <- tensors + share · (ends − tensors), in place."""
    if share.is_cpu:
        torch._foreach_lerp_(tensors, ends, [share.to(t.dtype) for t in tensors])  # pyright: ignore[reportPrivateImportUsage]
        return
    # on a GPU that would be a kernel for each tensor
    apart = torch._foreach_sub(ends, tensors)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_mul_(apart, share)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_add_(tensors, apart)  # pyright: ignore[reportPrivateImportUsage]

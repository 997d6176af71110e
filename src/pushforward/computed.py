"""State that is neither learned nor saved, since it can be computed again: masks, orders, signs."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Computed(nn.Module):
    """A module with buffers that its state dict leaves out, and a method `reset` that computes them.

    It resets them itself whenever its memory is made anew, as by `to_empty`, and when a state dict is loaded. So a flow
    built on the meta device is complete after `to_empty` and `load_state_dict`, and after load_state_dict(assign=True).
    """

    @abstractmethod
    def reset(self) -> None:
        """Set the buffers that the state dict leaves out, in place."""

    def _apply(self, fn: Callable, recurse: bool = True) -> Any:  # what to(), to_empty() and others call
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        if any(self._buffers[name] is not buffer for name, buffer in before.items()):
            self.reset()
        return self

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        if not any(buffer.is_meta for buffer in self.buffers(recurse=False)):
            self.reset()


def complete(module: nn.Module, device: torch.device) -> None:
    """Make every buffer on the meta device that the state dict leaves out, on `device`, and reset it."""
    for part in module.modules():
        missing = [name for name in part._non_persistent_buffers_set if getattr(part, name).is_meta]
        for name in missing:
            part._buffers[name] = torch.empty_like(getattr(part, name), device=device)
        if missing and isinstance(part, Computed):
            part.reset()

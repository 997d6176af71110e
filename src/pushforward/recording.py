"""Whether operations are recorded: then their values are not to be looked at, and nothing may hide them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def recorded() -> bool:
    """Whether operations are recorded or transformed: by torch.compile, torch.export, torch.jit.trace, a dispatch or
    function mode (make_fx, FlopCounterMode, FakeTensorMode …), functorch, or forward-mode differentiation."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def readable(tensor: Tensor) -> bool:
    """Whether its values can be looked at without waiting for a device: on a CPU, where nothing is recorded."""
    return tensor.is_cpu and not recorded()

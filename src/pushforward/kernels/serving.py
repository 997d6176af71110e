"""When a kernel may compute what tensor operations would.

A kernel is one opaque call: whoever records operations, or transforms them, would not see it. So kernels serve only
plain tensors on a CPU, where nothing records, and where there is enough work to be worth a compiled library.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

# The least work that each kernel serves: elements for moves, multiplications for networks. For less nobody should wait
# for a compiler.
LEAST: dict[str, float] = {
    "affine": 64,
    "spline": 64,
    "perceptron": 2**20,
    "masked": 2**22,
    "transformer": 2**24,
}


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


def are_plain(*tensors: Tensor, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)) -> bool:
    """Whether these are dense tensors on a CPU, of no subclass, and all of one of `dtypes`."""
    dtype = tensors[0].dtype
    return dtype in dtypes and all(
        type(t) in (Tensor, nn.Parameter)
        and t.is_cpu
        and t.dtype == dtype
        and t.layout is torch.strided
        and not t.is_neg()
        for t in tensors
    )


def autocasts() -> bool:
    return torch.is_autocast_enabled("cpu")

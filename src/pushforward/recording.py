"""Whether operations are recorded: then their values are not to be looked at, and nothing may hide them."""

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext


def recorded(default: str | None = None) -> bool:
    """Whether operations are recorded or transformed: by torch.compile, torch.export, torch.jit.trace, a dispatch or
    function mode (make_fx, FlopCounterMode, FakeTensorMode …), functorch, or forward-mode differentiation.

    A default device is a function mode, too. One of the kind `default`, "cuda", counts as none.
    """
    return (
        written()
        or torch._C._len_torch_dispatch_stack() > 0
        or (torch._C._len_torch_function_stack() > 0 and not _only_defaults(default))
        or differentiated()
    )


def _only_defaults(kind: str | None) -> bool:
    """Whether all function modes do no more than name a default device of this kind."""
    modes = _get_current_function_mode_stack()
    return kind is not None and all(type(mode) is DeviceContext and mode.device.type == kind for mode in modes)


def differentiated() -> bool:
    """Whether operations are differentiated in forward mode, or by torch.func."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def differentiable() -> bool:
    """Whether derivatives may be wanted: gradients are recorded, or operations are `differentiated`."""
    return torch.is_grad_enabled() or differentiated()


def written() -> bool:
    """Whether operations are written into a program: by torch.compile, torch.export or torch.jit.trace."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def hidden() -> bool:
    """Whether loops cannot depend on values: in torch.jit.trace, and in torch.func.vmap, which hides them."""
    transforms = retrieve_all_functorch_interpreters() if torch._C._are_functorch_transforms_active() else ()
    return torch._C._get_tracing_state() is not None or any(each.key() == TransformType.Vmap for each in transforms)


def readable(tensor: Tensor) -> bool:
    """Whether its values can be looked at without waiting for a device: on a CPU, where nothing is recorded."""
    return tensor.is_cpu and not recorded()

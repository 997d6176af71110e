"""Whether calling a module is no more than calling the forward of its class.

Kernels compute from a module's weights alone. So they may serve only modules that nobody hooked, wrapped, replaced,
quantised or parametrised.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as torch_module

GLOBAL_HOOKS = (  # on all modules; torch fills these dictionaries in place
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether `module` and its parts, in the order of modules(), are of exactly these classes, and none is watched."""
    if not module._modules:
        return kinds == (type(module),) and not is_watched(module)
    parts = list(module.modules())
    return tuple(map(type, parts)) == kinds and not any(map(is_watched, parts))


def is_watched(module: nn.Module) -> bool:
    """Whether calling the module does more than its class's forward: hooks of any sort, those on all modules included,
    another `forward` set on it, or a compiled one."""
    own = module.__dict__
    return bool(
        own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
        or "forward" in own
        or own.get("_compiled_call_impl")
        or any(GLOBAL_HOOKS)
    )

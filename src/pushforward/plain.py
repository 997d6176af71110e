"""Whether calling a module is no more than calling the forward of its class.

Kernels read a module's weights and do not call it. So they may serve only modules that are not hooked, wrapped,
replaced, quantised or parametrised. Likewise a transform that has hooks, or another `forward`, is called for its
density.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as everywhere

GLOBAL_HOOKS = (  # on all modules; torch fills these dictionaries in place
    everywhere._global_forward_hooks,
    everywhere._global_forward_pre_hooks,
    everywhere._global_backward_hooks,
    everywhere._global_backward_pre_hooks,
)


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether `module` and its parts, in the order of modules(), are of exactly these classes, each unchanged."""
    if not module._modules:
        return kinds == (type(module),) and not is_watched(module)
    parts = list(module.modules())
    return tuple(map(type, parts)) == kinds and not any(map(is_watched, parts))


def is_watched(module: nn.Module) -> bool:
    """Whether calling the module does more than its class's forward: hooks of any sort, those on all modules included,
    another `forward` set on it, or a compiled one."""
    own = module.__dict__  # tested for every layer at every call, so without attribute look-ups
    return bool(is_hooked(module) or "forward" in own or own.get("_compiled_call_impl") or any(GLOBAL_HOOKS))


def is_hooked(module: nn.Module) -> bool:
    """Whether the module itself has hooks, of any sort."""
    own = module.__dict__
    return bool(
        own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
    )


def keeps_forward(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether the module computes what `kind` does. Its class may be another, as sharding makes it."""
    return getattr(type(module), "forward", None) is kind.forward and "forward" not in module.__dict__


def is_unchanged(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling the module is no more than `kind`'s forward, whatever its parts are."""
    return keeps_forward(module, kind) and not is_hooked(module) and not any(map(_changes, GLOBAL_HOOKS))


def _changes(hooks: Mapping[int, Any]) -> bool:
    """Whether one of these hooks may change what modules answer: torch's own, as of a counter of operations, do not."""
    return any(not (getattr(hook, "__module__", None) or "").startswith("torch.") for hook in hooks.values())


def computes_in(layer: nn.Module) -> torch.dtype:
    """The dtype of a layer's weight; that of its first real parameter, where the layer is wrapped."""
    weight = getattr(layer, "weight", None)
    if isinstance(weight, Tensor) and weight.is_floating_point():
        return weight.dtype
    kinds = (parameter.dtype for parameter in layer.parameters() if parameter.is_floating_point())
    return next(kinds, torch.get_default_dtype())

"""Diagnosis of overflow in training: the first module whose output is not finite."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def first_not_finite(objective: nn.Module, gradients: Callable[[], list[str]]) -> str:
    """Name the first module inside the objective whose output is not finite. Where all are finite, name the weight
    nearest the loss whose gradient is not: `gradients` computes the loss, and returns the names of such weights."""
    found: list[str] = []

    def look(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _given: object, answer: object) -> None:
            tensors = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
            if not all(tensor.isfinite().all() for tensor in tensors):
                found.append(name)

        return hook

    hooks = [module.register_forward_hook(look(name)) for name, module in objective.named_modules() if name]
    try:
        broken = gradients()
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return f"the output of {found[0]}"
    return f"the gradient of {broken[-1]}" if broken else "the loss alone"

"""How modules begin: layers at zero, and parts that set their state from data.

A part that is initialised from data has a method `initialize_from`, as `ActNorm` has, which takes the inputs of
`forward`; until it is called the part is the identity.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def zeroed(layer: Layer) -> Layer:
    """The layer, its weights set to zero."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


def needs_data(module: nn.Module) -> bool:
    """Whether any part is initialised from data."""
    return any(hasattr(part, "initialize_from") for part in module.modules())


@contextmanager
def initializing(module: nn.Module) -> Iterator[None]:
    """In this block, initialise every part from its inputs, before its first forward.

    Raises ValueError where a part was not called. Afterwards buffers named `initialized` are True.
    """
    missed = {part for part in module.modules() if hasattr(part, "initialize_from")}

    def initialize(part: nn.Module, args: tuple[Any, ...]) -> None:
        if part in missed:
            part.initialize_from(*args)  # pyright: ignore[reportCallIssue]
            missed.discard(part)

    hooks = [part.register_forward_pre_hook(initialize) for part in [*missed]]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if missed:
        raise ValueError(
            f"no data reached {', '.join(type(part).__name__ for part in missed)}: not initialised. Inside of an "
            "Inverse such parts are called backwards, and have no data: keep them outside of it."
        )
    for name, buffer in module.named_buffers():
        if name.rpartition(".")[2] == "initialized":
            buffer.fill_(True)

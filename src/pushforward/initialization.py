"""Data-dependent initialisation: parts of a module set their state from the data that reach them.

Such a part has a method `initialize_from(x)`. Units and activation norms are of this kind; until they are initialised
they are the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def needs_data(module: nn.Module) -> bool:
    """Whether any part is initialised from data."""
    return any(hasattr(part, "initialize_from") for part in module.modules())


@contextmanager
def initializing(module: nn.Module) -> Iterator[None]:
    """Initialise every part from what it is called with in this block, before it answers.

    Raises ValueError where a part was not called. Buffers named `initialized` are set to True.
    """
    missed = {part for part in module.modules() if hasattr(part, "initialize_from")}

    def initialize(part: nn.Module, args: tuple[Any, ...]) -> None:
        part.initialize_from(args[0])  # pyright: ignore[reportCallIssue]
        missed.discard(part)

    hooks = [part.register_forward_pre_hook(initialize) for part in missed]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if missed:
        raise ValueError(f"no data reached {', '.join(type(part).__name__ for part in missed)} on the way.")
    for name, buffer in module.named_buffers():
        if name.rpartition(".")[2] == "initialized":
            buffer.fill_(True)

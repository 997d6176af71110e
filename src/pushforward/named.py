"""Names of classes and functions in saved runs: "package.module:Name", what Python imports."""

import importlib
from collections.abc import Callable
from functools import reduce
from typing import Any


def name_of(thing: type | Callable) -> str:
    """Its name. Raises ValueError where nothing can be imported by that name.

    >>> name_of(torch.nn.Linear)
    'torch.nn.modules.linear:Linear'
    """
    module, inside = getattr(thing, "__module__", None), getattr(thing, "__qualname__", repr(thing))
    if module == "__main__":
        raise ValueError(
            f"{inside} is defined in the script or session that runs now, which nothing else can import. Move it into "
            "a file of its own, my_flows.py, and import it from there."
        )
    for name in (f"{module}:{inside}", f"torch:{inside.rpartition('.')[2]}"):  # functions in C may lack a module
        try:
            if named(name) is thing:
                return name
        except ValueError:
            continue
    raise ValueError(
        f"{inside}, defined in {module}, cannot be imported by that name. Define it at the top level of a module."
    )


def named(name: str) -> Any:
    """The class or function of this name. Raises ValueError where it cannot be imported.

    What moved to another file of its room since it was saved is found in the room.
    """
    module, _, inside = name.partition(":")
    try:
        return reduce(getattr, inside.split("."), importlib.import_module(module))
    except ImportError as error:
        raise ValueError(
            f"{name} cannot be imported: {error}. Install {module.split('.')[0]}, or add its folder to PYTHONPATH."
        ) from None
    except (AttributeError, ValueError):
        room = module.rpartition(".")[0]
        if room.startswith("pushforward."):
            return named(f"{room}:{inside}")
        raise ValueError(
            f"the module {module} has no {inside!r}: it was moved or renamed since it was saved."
        ) from None

"""Optional dependencies: imported where they are used."""

import importlib
from typing import Any


def require(module: str, extra: str) -> Any:
    """Import a module of a package in the extra. Raises ModuleNotFoundError, with what to install, if it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"this needs the package {missing.name}: pip install 'pushforward[{extra}]' installs it."
        ) from None

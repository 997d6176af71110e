"""Builds a kernel on first use, or all of them ahead (`pushforward build`), for this machine's processor; and loads it.

The compiler is $CXX, or g++. Without a compiler, or with PUSHFORWARD_KERNELS=0, tensor operations compute the same,
more slowly. Libraries are stored in $XDG_CACHE_HOME/pushforward, or ~/.cache/pushforward. Their names have a hash of
the sources, the compiler, its flags and the processor.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from pushforward.files import cache_folder

Structs = tuple[type[ctypes.Structure], ...]

SOURCES = Path(__file__).parent
FLAGS = [
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-std=c++17",
    "-fopenmp",
    "-fPIC",
    "-shared",
]
enabled = os.environ.get("PUSHFORWARD_KERNELS") != "0"
warned: list[str] = []  # why kernels could not be built
FAILURES = (OSError, RuntimeError, subprocess.CalledProcessError)


def build() -> dict[str, Path | None]:
    """Build all kernels ahead, one for each core at a time. Returns the path of each one's library; None where it
    cannot be built.

    Raises RuntimeError where kernels are switched off.
    """
    if not enabled:
        raise RuntimeError("kernels are switched off by PUSHFORWARD_KERNELS=0: there is nothing to build.")
    names = sorted(source.stem for source in SOURCES.glob("*.cpp"))
    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        found = compilers.map(lambda name: _loaded(name, ()), names)
        return {name: None if loaded is None else Path(loaded._name) for name, loaded in zip(names, found, strict=True)}


def library(name: str, structs: Structs = ()) -> ctypes.CDLL | None:
    """The library of `name`.cpp, whose structs have the sizes of `structs`; None where kernels are switched off or it
    cannot be built, of which a process warns once."""
    return _loaded(name, structs) if enabled else None


@functools.cache
def function(name: str, door: str, dtype: torch.dtype, structs: Structs, arguments: tuple[Any, ...]) -> Any:
    """The function `door` of a library that was loaded, for elements of this type; `arguments` are their ctypes."""
    found = getattr(_loaded(name, structs), f"{door}_{str(dtype).removeprefix('torch.')}")
    found.argtypes, found.restype = arguments, None
    return found


@functools.cache
def _loaded(name: str, structs: Structs) -> ctypes.CDLL | None:
    compiler = _compiler()
    if compiler is None:
        return None
    try:
        found = ctypes.CDLL(str(_built(SOURCES / f"{name}.cpp", compiler)))
    except FAILURES as error:
        _warn(f"{name}.cpp could not be built: {getattr(error, 'stderr', None) or error}")
        return None
    for struct in structs:
        size = getattr(found, f"sizeof_{struct.__name__}")()
        assert size == ctypes.sizeof(struct), (
            f"{struct.__name__} has {ctypes.sizeof(struct)} bytes, in {name}.cpp {size}"
        )
    return found


def _built(source: Path, compiler: str) -> Path:
    """The library's file, which is built unless an earlier process has built it."""
    flags = [*FLAGS, f"-march={os.environ.get('PUSHFORWARD_MARCH', 'native')}"]
    texts = [file.read_text(encoding="utf-8") for file in (source, *sorted(SOURCES.glob("*.h")))]
    recipe = "\n".join([*texts, compiler, *flags, platform.platform(), _processor()])
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{source.stem}-{hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()}.so"
    if not path.exists():
        print(
            f"pushforward: compiling {source.name}, once for this machine (`pushforward build` compiles all ahead) …",
            file=sys.stderr,
        )
        with tempfile.TemporaryDirectory(
            dir=folder
        ) as scratch:  # moved when complete: other processes may build it too
            built = Path(scratch) / path.name
            subprocess.run([compiler, *flags, source, "-o", built], check=True, capture_output=True, text=True)
            built.replace(path)
    return path


@functools.cache
def _compiler() -> str | None:
    name = os.environ.get("CXX", "g++")
    found = shutil.which(name)
    if found is None:
        _warn(f"no C++ compiler was found ({name}, or what CXX names)")
    return found


def _warn(reason: str) -> None:
    """Warn, once in a process."""
    if not warned:
        warned.append(reason)
        warnings.warn(
            f"compiled kernels are missing, so slower tensor operations compute the same: {reason}. "
            "PUSHFORWARD_KERNELS=0 switches kernels and this warning off.",
            stacklevel=2,
        )


def _processor() -> str:
    """The processor's features, on which -march=native depends."""
    try:
        return next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return platform.processor()

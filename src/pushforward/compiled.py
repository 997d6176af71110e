"""Builds loops in C++ on first use, for the processor at hand.

The compiler is $CXX, or g++. Where there is none, tensor operations serve instead: the same answers, slower. What was
built is kept in $XDG_CACHE_HOME/pushforward, or ~/.cache/pushforward, under a hash of what it was made from.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-std=c++17", "-fopenmp", "-fPIC", "-shared"]


def build(source: Path) -> ctypes.CDLL | None:
    """The library of a .cpp file; None where it cannot be built."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return None
    texts = [file.read_text() for file in (source, *sorted(source.parent.glob("*.h")))]
    recipe = [*texts, compiler, *FLAGS, platform.platform(), _processor()]
    name = hashlib.blake2b("\n".join(recipe).encode(), digest_size=16).hexdigest() + ".so"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pushforward"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / name).exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:  # then moved in one go: others may be building too
                built = Path(scratch) / name
                subprocess.run([compiler, *FLAGS, source, "-o", built], check=True, capture_output=True, text=True)
                built.replace(folder / name)
        return ctypes.CDLL(str(folder / name))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        warnings.warn(f"this is slower without {source.name}, which could not be built: {reason}", stacklevel=3)
        return None


def plain(*tensors: Tensor) -> bool:
    """Whether loops may stand for tensor operations on these: plain tensors on a CPU, all float32 or all float64, which
    no compiler traces and nothing but reverse mode differentiates."""
    dtype = tensors[0].dtype
    return (
        dtype in (torch.float32, torch.float64)
        and all(t.is_cpu and t.dtype == dtype and type(t) in (Tensor, nn.Parameter) for t in tensors)
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


def _processor() -> str:
    """What -march=native depends on."""
    try:
        return next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return platform.processor()

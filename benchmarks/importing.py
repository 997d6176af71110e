"""The time of importing the package relative to torch: whole processes in turn, and the median of the ratios.

python benchmarks/importing.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(module: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - start


def main() -> None:
    seconds("pushforward")  # writes the bytecode caches
    pairs = [(seconds("torch"), seconds("pushforward")) for _ in range(ROUNDS)]
    ours = statistics.median(ours for _, ours in pairs)
    ratio = statistics.median(ours / torch for torch, ours in pairs)
    print(f"import pushforward: {ours:.2f} s, {ratio:.3f} of import torch (medians of {ROUNDS})")


if __name__ == "__main__":
    main()

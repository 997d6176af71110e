"""Runs every benchmark in `rows` and writes benchmarks/results_avx512.md, or that of another instruction set.

    python benchmarks/bench.py [row …]

Flows are trained first, once, into runs/bench, which takes some minutes. Use a quiet machine.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from pathlib import Path

import rows
import torch
from machine import this_machine

RESULTS = Path(__file__).with_name(f"results_{torch.backends.cpu.get_cpu_capability().lower()}.md")


def main(names: list[str]) -> None:
    started = time.monotonic()
    machine = this_machine()
    print(machine, flush=True)
    sections = [
        "# Benchmarks",
        "Written by `make bench`. In every round each side runs once; times and ratios are medians over rounds. "
        f"Measured on {machine}",
    ]
    for name in names or sorted(module.name for module in pkgutil.iter_modules(rows.__path__)):
        sections.append(importlib.import_module(f"rows.{name}").report(machine).strip())
        RESULTS.write_text("\n\n".join(sections) + "\n")
    print(f"{RESULTS}: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])

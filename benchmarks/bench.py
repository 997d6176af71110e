"""Measures everything in `rows`, side by side, and writes benchmarks/results.md.

    python benchmarks/bench.py [row …]

Trained flows are trained first, once, into runs/bench: some minutes. A quiet machine gives truer numbers.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from pathlib import Path

import rows
from machine import this_machine

RESULTS = Path(__file__).with_name("results.md")


def main(names: list[str]) -> None:
    started = time.monotonic()
    machine = this_machine()
    print(machine, flush=True)
    sections = [
        "# Benchmarks",
        "Written by `make bench`. Times are medians over rounds in which every side had its turn, and ratios are "
        f"medians of the rounds'. Measured on {machine}",
    ]
    for name in names or sorted(module.name for module in pkgutil.iter_modules(rows.__path__)):
        sections.append(importlib.import_module(f"rows.{name}").report(machine).strip())
        RESULTS.write_text("\n\n".join(sections) + "\n")
    print(f"{RESULTS}: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])

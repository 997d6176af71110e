"""python -m benchmarks.gpu [--part NAME …] [--seconds N]

Without a GPU it says so and exits with status 2. Status 1: a check failed, or a part did not end well.
"""

from __future__ import annotations

import argparse
import importlib
import math
import pkgutil
import sys
import time
from pathlib import Path

import torch

import benchmarks.gpu
from benchmarks.gpu.part import Part, Report, run, this_machine

RESULTS = Path(__file__).resolve().parent.parent / "gpu.md"
TIME = {True: 90.0, False: 360.0}  # seconds for all checks, and for all benches


def parts() -> dict[str, Part]:
    """Those of all modules here, the checks first."""
    found: dict[str, Part] = {}
    for module in sorted(each.name for each in pkgutil.iter_modules(benchmarks.gpu.__path__)):
        if module != "__main__":
            found |= getattr(importlib.import_module(f"benchmarks.gpu.{module}"), "PARTS", {})
    return dict(sorted(found.items(), key=lambda item: not item[1].check))


def arguments(known: dict[str, Part]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Checks and benchmarks on a GPU.")
    parser.add_argument("--part", nargs="+", choices=known, default=[*known], help="these parts alone")
    parser.add_argument("--seconds", type=float, help="the time of each part, in place of its own")
    parser.add_argument("--device", default="cuda", help="cpu, with --small, shows that the parts run")
    parser.add_argument("--small", action="store_true", help="toy sizes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the page of tables")
    return parser.parse_args()


def main() -> int:
    known = parts()
    asked = arguments(known)
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch can use: nothing was checked or measured", file=sys.stderr)
        return 2
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 is float32
    else:
        torch.set_num_threads(1)
    machine = this_machine(device, small=asked.small)
    print(machine, flush=True)
    reports: list[Report] = []
    started = {True: 0.0, False: 0.0}
    for name in asked.part:
        part = known[name]
        started[part.check] = started[part.check] or time.monotonic()
        left = (TIME[part.check] if asked.seconds is None else math.inf) - (time.monotonic() - started[part.check])
        if left < 1:
            reports.append(Report(name, part, [], "not begun: the time for its kind was over", 0))
            continue
        reports.append(run(name, part, machine, min(asked.seconds or part.seconds, left)))
    page = "\n\n".join([f"# On a GPU\n\nWritten by `make gpu`. {machine}", *map(str, reports)]) + "\n"
    asked.out.write_text(page)
    print(f"\n{page}")
    failed = [report.name for report in reports if report.failed]
    print("failed: " + ", ".join(failed) if failed else "all parts ended well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

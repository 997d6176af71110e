"""python -m benchmarks.gpu [--part NAME …] [--seconds N]

Without a GPU it says so and exits with status 2. Status 1: a check failed, or a part did not end well.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import pkgutil
import sys
import time
from pathlib import Path

import torch

import benchmarks.gpu
from benchmarks.gpu.part import Part, Report, lost, run, this_machine

RESULTS = Path(__file__).resolve().parent.parent / "gpu.md"
TIME = {True: 90.0, False: 360.0}  # seconds for all checks, and for all benches


def parts() -> dict[str, Part]:
    """Those of all modules here, the checks first, and of these the short ones: the last has what time is left."""
    found: dict[str, Part] = {}
    for module in sorted(each.name for each in pkgutil.iter_modules(benchmarks.gpu.__path__)):
        if module != "__main__":
            found |= getattr(importlib.import_module(f"benchmarks.gpu.{module}"), "PARTS", {})
    return dict(sorted(found.items(), key=lambda item: (not item[1].check, item[1].check * item[1].seconds)))


def arguments(known: dict[str, Part]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Checks and benchmarks on a GPU.")
    parser.add_argument("--part", nargs="+", choices=known, default=[*known], help="these parts alone")
    parser.add_argument("--seconds", type=float, help="the time of each part, in place of its own")
    parser.add_argument("--device", default="cuda", help="cpu, with --small, shows that the parts run")
    parser.add_argument("--small", action="store_true", help="toy sizes")
    parser.add_argument("--on", action="store_true", help="add to the page: for a process that lost its device")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the page of tables")
    return parser.parse_args()


def go_on(asked: argparse.Namespace, following: list[str]) -> None:
    """Run the parts that follow in a process of their own, in place of this one."""
    options = ["--on", "--device", asked.device, "--out", str(asked.out), *["--small"] * asked.small]
    options += [] if asked.seconds is None else ["--seconds", str(asked.seconds)]
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *options, "--part", *following])


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
    if not asked.on:
        asked.out.write_text(f"# On a GPU\n\nWritten by `make gpu`. {machine}\n")
    failed = ["those before"] if asked.on else []
    started: dict[bool, float] = {}
    for name in asked.part:
        part = known[name]
        spent = time.monotonic() - started.setdefault(part.check, time.monotonic())
        left = (TIME[part.check] if asked.seconds is None else math.inf) - spent
        if left < 1:
            report = Report(name, part, [], "not begun: the time for its kind was over", 0)
        else:
            report = run(name, part, machine, min(asked.seconds or part.seconds, left))
        with asked.out.open("a") as page:  # a machine that is taken away leaves what was measured
            page.write(f"\n{report}\n")
        if report.failed:
            failed.append(name)
        following = asked.part[asked.part.index(name) + 1 :]
        if following and lost(device):
            go_on(asked, following)
    print(f"\n{asked.out.read_text()}")
    print("failed: " + ", ".join(failed) if failed else "all parts ended well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

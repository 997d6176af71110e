"""A run's held-out bits/dim against time: a table, and a plot.

python benchmarks/curve.py runs/mnist docs/mnist.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pushforward.training import Log


def main(run: Path, out: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    held_out = [
        (line["seconds"] / 3600, line["step"], line["held-out bits/dim"])
        for line in Log(run).read()
        if "held-out bits/dim" in line
    ]
    print("| hours | step | held-out bits/dim |\n|---|---|---|")
    for hours, step, bits in held_out:
        print(f"| {hours:.2f} | {step:,.0f} | {bits:.3f} |")
    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot([h for h, _, _ in held_out], [b for _, _, b in held_out], marker="o")
    axes.set(xlabel="hours", ylabel="held-out bits/dim", title=str(run))
    axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("out", type=Path)
    main(**vars(arguments.parse_args()))

"""Many-well densities learned from samples, and how many of the flows' draws count as draws of the density itself.

    OMP_NUM_THREADS=1 python benchmarks/many_well.py [D …]

D/2 pairs, each of log-density −x⁴ + 6x² + x/2 − y²/2 and a constant: 2^(D/2) modes, of unequal weights. Samples and
log Z are exact, by a grid of x. Both models have one training; 10,000 draws of each are weighted.
"""

from __future__ import annotations

import math
import sys
import time

import torch
from torch import Tensor

import pushforward as pf
from pushforward.evaluation import importance

STEPS, ROWS = 1500, 100_000
MODELS = {
    "ArBG, 256 bins": lambda features: pf.models.ArBG(features=features, move=pf.moves.Histogram(bins=256, bound=3.0)),
    "NSF": lambda features: pf.models.NSF(features=features, autoregressive=True, transforms=3, hidden=(64, 64)),
}
GRID = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
WELL = (-(GRID**4) + 6 * GRID**2 + GRID / 2).exp()


def log_density(x: Tensor) -> Tensor:
    a, b = x[:, ::2], x[:, 1::2]
    return (-(a**4) + 6 * a**2 + a / 2 - b**2 / 2).sum(1)


def samples(rows: int, features: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=generator)
    cdf = WELL.cumsum(0) / WELL.sum()
    u = torch.rand(rows, features // 2, generator=generator, dtype=torch.float64)
    within = 1e-4 * torch.rand(u.shape, generator=generator, dtype=torch.float64)
    x[:, ::2] = (GRID[torch.searchsorted(cdf, u).clamp(max=len(GRID) - 1)] - within).float()
    return x


def main(sizes: list[int]) -> None:
    torch.set_num_threads(1)
    print("| D | modes | model | parameters | s | log p, held out | log Z, error | effective sample size |")
    print("|---|---|---|---|---|---|---|---|")
    for features in sizes:
        log_z = features / 2 * (math.log(WELL.sum().item() * 1e-4) + 0.5 * math.log(2 * math.pi))
        x = samples(ROWS + 10_000, features)
        for name, model in MODELS.items():
            torch.manual_seed(0)
            flow, started = model(features).build(), time.process_time()
            pf.fit(flow, x[:ROWS], steps=STEPS, batch=256, progress=False)
            seconds, size = time.process_time() - started, sum(p.numel() for p in flow.parameters())
            held_out = torch.cat([*flow.log_probs((part, None) for part in x[ROWS:].split(1000))]).mean().item()
            found = importance(flow, log_density, 10_000)
            print(
                f"| {features} | {2 ** (features // 2)} | {name} | {size:,} | {seconds:.0f} | {held_out:.3f} "
                f"| {found.log_normaliser - log_z:+.3f} ± {found.standard_error:.3f} "
                f"| {found.effective:,.0f} of 10,000 |",
                flush=True,
            )
        entropy = (log_density(x[ROWS:]) - log_z).mean().item()
        print(f"| {features} | {2 ** (features // 2)} | the density itself | | | {entropy:.3f} | | |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [8])

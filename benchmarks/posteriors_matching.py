"""Posteriors by flow matching inside sbi: `interop.sbi.estimator(models.FlowMatching)` beside sbi's own FMPE.

    OMP_NUM_THREADS=1 PUSHFORWARD_DATA=folder python benchmarks/posteriors_matching.py two_moons gaussian_linear

The folder holds sbibm_reference_posteriors.npz. Both sides learn from the same 2,000 simulations, by sbi's loop with
batches of 200 at 2e-3, for 200 epochs at most, each with its own network: ours of four layers of 128, sbi's default.
Seconds are of a processor, in one process: of the training, of 1,000 samples, and of the log-densities of 1,000
reference draws, all for observation 1. sbi integrates by zuko at rtol 1e-5, atol 1e-6; ours has the same tolerances.
C2ST, of 1,000 draws, is 0.5 where both sets have one distribution.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from posteriors import TASKS
from sbi.inference import FMPE, NPE

import pushforward as pf
from pushforward.evaluation import c2st
from pushforward.solve import Dopri5

SIMULATIONS, DRAWS = 2000, 1000
TRAIN = {"training_batch_size": 200, "learning_rate": 2e-3, "max_num_epochs": 200}
OURS = pf.interop.sbi.estimator(pf.models.FlowMatching, hidden=(128,) * 4, solve=Dopri5(rtol=1e-5, atol=1e-6))
SIDES: dict[str, tuple[Callable[..., Any], dict[str, bool]]] = {  # and how log p leaves out the share in the prior
    "pushforward": (lambda prior: NPE(prior, OURS, show_progress_bars=False), {"norm_posterior": False}),
    "sbi's FMPE": (lambda prior: FMPE(prior, show_progress_bars=False), {}),
}


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return task(), time.process_time() - started


def main(folder: Path, names: list[str]) -> None:
    print("| task | side | training, s | 1,000 samples, s | 1,000 log p, s | mean log p of the reference | C2ST |")
    print("|---|---|---|---|---|---|---|")
    with np.load(folder / "sbibm_reference_posteriors.npz") as arrays:
        for name in names:
            task = TASKS[name]()
            reference = torch.from_numpy(arrays[f"{name}_1_post"]).float()[:DRAWS]
            observed = task.seen(torch.from_numpy(arrays[f"{name}_1_obs"]).float().reshape(1, -1))
            torch.manual_seed(0)
            theta = task.prior.sample((SIMULATIONS,))
            x = task.simulate(theta)
            for side, (make, plainly) in SIDES.items():
                torch.manual_seed(1)
                inference = make(task.prior).append_simulations(theta, x)
                _, training = timed(lambda: inference.train(**TRAIN))  # noqa: B023
                posterior = inference.build_posterior().set_default_x(observed)
                draws, sampling = timed(lambda: posterior.sample((DRAWS,), show_progress_bars=False))  # noqa: B023
                log_p, scoring = timed(lambda: posterior.log_prob(reference, **plainly))  # noqa: B023
                found = f"{log_p.mean():.3f} | {c2st(reference, draws):.3f}"
                print(f"| {name} | {side} | {training:.1f} | {sampling:.2f} | {scoring:.2f} | {found} |", flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    main(Path(os.environ["PUSHFORWARD_DATA"]), sys.argv[1:] or ["two_moons"])

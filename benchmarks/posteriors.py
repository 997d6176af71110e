"""Posteriors by simulation-based inference, against the reference posteriors of sbibm: ours beside sbi's own flow.

    PUSHFORWARD_DATA=folder python benchmarks/posteriors.py two_moons gaussian_linear

The folder holds sbibm_reference_posteriors.npz, which has two observations of each task and 10,000 draws of each true
posterior. Both flows are trained by sbi in one way, on the same 10,000 simulations, and have five couplings, by splines
of 10 bins on ±3, with networks of width 50. C2ST, of 2,000 draws, is 0.5 where they cannot be told from the reference.
The tasks are those of Lueckmann et al. 2021, arXiv:2101.04653.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sbi.inference import NPE
from sbi.neural_nets import posterior_nn
from sbi.utils import BoxUniform
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

import pushforward as pf
from pushforward.evaluation import c2st, check_calibration
from pushforward.moves import RationalQuadraticSpline

SIMULATIONS, DRAWS, PAIRS = 10_000, 2000, 500
TRAIN = {"training_batch_size": 500, "learning_rate": 1e-3, "max_num_epochs": 60}


class Task(NamedTuple):
    prior: Distribution
    simulate: Callable[[Tensor], Tensor]


def gaussian_linear() -> Task:
    """The mean of ten Gaussian numbers of variance 0.1, itself of variance 0.1."""
    prior = MultivariateNormal(torch.zeros(10), 0.1 * torch.eye(10))
    return Task(prior, lambda theta: theta + 0.1**0.5 * torch.randn_like(theta))


def two_moons() -> Task:
    """A crescent that θ shifts, by |θ₀ + θ₁| to the left: two crescents of θ explain an x."""

    def simulate(theta: Tensor) -> Tensor:
        angle = math.pi * (torch.rand(len(theta)) - 0.5)
        radius = 0.1 + 0.01 * torch.randn(len(theta))
        crescent = torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], 1)
        return crescent + torch.stack([-theta.sum(1).abs(), theta[:, 1] - theta[:, 0]], 1) / 2**0.5

    return Task(BoxUniform(-torch.ones(2), torch.ones(2)), simulate)


TASKS = {"two_moons": two_moons, "gaussian_linear": gaussian_linear}


def main(reference: Path, names: list[str]) -> None:
    print("| task | flow | parameters | held out, nats | C2ST, observations 1 and 2 | training, s |")
    print("|---|---|---|---|---|---|")
    coverage = []
    with np.load(reference) as arrays:
        for name in names:
            task = TASKS[name]()
            flows = {
                "pushforward NSF": pf.interop.sbi.estimator(
                    pf.models.NSF, hidden=(50, 50), move=RationalQuadraticSpline(bins=10, bound=3.0)
                ),
                "sbi's nsf": posterior_nn("nsf"),
            }
            for flow, build in flows.items():
                torch.manual_seed(0)
                theta = task.prior.sample((SIMULATIONS,))
                inference = NPE(task.prior, build, show_progress_bars=False)
                start = time.perf_counter()
                estimator = inference.append_simulations(theta, task.simulate(theta)).train(**TRAIN)
                seconds = time.perf_counter() - start
                posterior = inference.build_posterior()
                distances = []
                for i in (1, 2):
                    observed, true = (torch.from_numpy(arrays[f"{name}_{i}_{part}"]) for part in ("obs", "post"))
                    draws = posterior.sample((DRAWS,), x=observed, show_progress_bars=False)
                    distances.append(f"{c2st(true[:DRAWS], draws):.3f}")
                held_out = -inference.summary["best_validation_loss"][-1]
                count = sum(parameter.numel() for parameter in estimator.parameters())
                cells = name, flow, f"{count:,}", f"{held_out:.2f}", ", ".join(distances), f"{seconds:.0f}"
                print(f"| {' | '.join(cells)} |", flush=True)
                if isinstance(estimator.net, pf.Flow):
                    theta = task.prior.sample((PAIRS,))
                    context = estimator.embedding_net(task.simulate(theta))
                    coverage.append(f"{name}: {check_calibration(estimator.net, theta, context)}")
    print("", *coverage, sep="\n")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Maximum number of epochs")
    torch.set_num_threads(1)  # networks this small gain nothing from a second
    main(Path(os.environ["PUSHFORWARD_DATA"]) / "sbibm_reference_posteriors.npz", sys.argv[1:] or list(TASKS))

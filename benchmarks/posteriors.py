"""Posteriors by simulation-based inference, against the reference posteriors of sbibm: ours and sbi's own flow.

    PUSHFORWARD_DATA=folder python benchmarks/posteriors.py two_moons gaussian_linear

The folder holds sbibm_reference_posteriors.npz, which has two observations of each task and 10,000 draws of each true
posterior. Both flows are trained by sbi in the same way, on the same 10,000 simulations, and have five couplings of
splines of 10 bins on ±3, with networks of width 50. C2ST, of 2,000 draws, is 0.5 where both sets have one distribution.
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
from torch.distributions import Binomial, Distribution, Independent, LogNormal, MultivariateNormal

import pushforward as pf
from pushforward.evaluation import c2st, check_calibration
from pushforward.moves import RationalQuadraticSpline
from pushforward.transforms import Interval

SIMULATIONS, DRAWS, PAIRS = 10_000, 2000, 500
TRAIN = {"training_batch_size": 500, "learning_rate": 1e-3, "max_num_epochs": 60}


class Task(NamedTuple):
    prior: Distribution
    simulate: Callable[[Tensor], Tensor]
    seen: Callable[[Tensor], Tensor] = lambda x: x  # sbibm's outcome
    supports: tuple[Interval, ...] = ()


def gaussian_linear() -> Task:
    """The mean of a Gaussian of ten dimensions and variance 0.1, with a prior of variance 0.1."""
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


def gaussian_linear_uniform() -> Task:
    """The same, of a mean that is uniform in a box."""
    return Task(BoxUniform(-torch.ones(10), torch.ones(10)), gaussian_linear().simulate)


def gaussian_mixture() -> Task:
    """The common mean of two Gaussians, of deviations 1 and 0.1; either may be drawn from."""

    def simulate(theta: Tensor) -> Tensor:
        deviation = torch.where(torch.rand(len(theta), 1) < 0.5, 1.0, 0.1)
        return theta + deviation * torch.randn_like(theta)

    return Task(BoxUniform(-10 * torch.ones(2), 10 * torch.ones(2)), simulate)


def slcp() -> Task:
    """Simple likelihood, complex posterior: four draws of a Gaussian of two dimensions and five parameters."""

    def simulate(theta: Tensor) -> Tensor:
        one, other, correlation = theta[:, 2].square(), theta[:, 3].square(), theta[:, 4].tanh()
        noise = torch.randn(len(theta), 4, 2)
        second = correlation[:, None] * noise[..., 0] + (1 - correlation.square()).sqrt()[:, None] * noise[..., 1]
        spread = torch.stack([one[:, None] * noise[..., 0], other[:, None] * second], 2)
        return (theta[:, None, :2] + spread).flatten(1)

    return Task(BoxUniform(-3 * torch.ones(5), 3 * torch.ones(5)), simulate)


def lotka_volterra() -> Task:
    """Prey and predators, counted ten times in twenty days with errors of 10%; the data are their logarithms."""

    def simulate(theta: Tensor) -> Tensor:
        a, b, c, d = theta.unbind(1)
        start = torch.tensor([30.0, 1.0]).expand(len(theta), 2)
        path = solved(lambda s: s * torch.stack([a - b * s[:, 1], d * s[:, 0] - c], 1), start, 0.02, 945, 105)
        counts = path.clamp(1e-10, 1e4).log().transpose(1, 2).flatten(1)
        return counts + 0.1 * torch.randn_like(counts)

    median, deviation = torch.tensor([-0.125, -3.0, -0.125, -3.0]), torch.full((4,), 0.5)
    return Task(Independent(LogNormal(median, deviation), 1), simulate, torch.log, (Interval(0),) * 4)


def sir() -> Task:
    """An epidemic among a million, of whom a thousand are tested ten times in 160 days; counts by log(1 + x)."""

    def simulate(theta: Tensor) -> Tensor:
        contact, recovery = theta.unbind(1)

        def slope(s: Tensor) -> Tensor:
            infected = contact * s[:, 0] * s[:, 1]
            return torch.stack([-infected, infected - recovery * s[:, 1]], 1)

        start = torch.tensor([1 - 1e-6, 1e-6]).expand(len(theta), 2)
        share = solved(slope, start, 0.1, 1530, 170)[..., 1].clamp(0, 1)
        return Binomial(1000, share).sample().log1p()

    median, deviation = torch.tensor([0.4, 0.125]).log(), torch.tensor([0.5, 0.2])
    return Task(Independent(LogNormal(median, deviation), 1), simulate, torch.log1p, (Interval(0),) * 2)


def bernoulli_glm() -> Task:
    """A neuron that fires in some of a hundred moments: its bias, and its filter over nine values of white noise.

    The data are sufficient statistics: the count of firings, and the sums of the noise at each lag before a firing.
    """
    noise = torch.from_numpy(np.random.RandomState(42).randn(100)).float()  # the result depends on which noise it was
    lags = [torch.cat([torch.zeros(lag), noise[: 100 - lag]]) for lag in range(9)]
    design = torch.stack([torch.ones(100), *lags], 1)
    difference = torch.eye(9) - torch.diag(torch.ones(8), -1)
    smooth = difference @ difference + torch.diag((torch.arange(9) / 9).sqrt())
    precision = torch.block_diag(torch.tensor([[0.5]]), smooth.T @ smooth)
    prior = MultivariateNormal(torch.zeros(10), precision_matrix=precision)
    return Task(prior, lambda theta: (torch.rand(len(theta), 100) < (theta @ design.T).sigmoid()).float() @ design)


def solved(slope: Callable[[Tensor], Tensor], state: Tensor, step: float, steps: int, every: int) -> Tensor:
    """The states (batch, times, dimensions) of ds/dt = slope(s) at regular steps, by the Runge–Kutta method."""
    states = [state]
    for i in range(steps):
        one = slope(state)
        two = slope(state + step / 2 * one)
        three = slope(state + step / 2 * two)
        state = state + step / 6 * (one + 2 * two + 2 * three + slope(state + step * three))
        if (i + 1) % every == 0:
            states.append(state)
    return torch.stack(states, 1)


TASKS = {
    task.__name__: task
    for task in (
        two_moons,
        gaussian_linear,
        gaussian_linear_uniform,
        gaussian_mixture,
        slcp,
        lotka_volterra,
        sir,
        bernoulli_glm,
    )
}


def main(reference: Path, names: list[str]) -> None:
    print("| task | flow | parameters | held out, nats | C2ST, observations 1 and 2 | training, s |")
    print("|---|---|---|---|---|---|")
    coverage = []
    with np.load(reference) as arrays:
        for name in names:
            task = TASKS[name]()
            flows = {
                "pushforward NSF": pf.interop.sbi.estimator(
                    pf.models.NSF,
                    hidden=(50, 50),
                    move=RationalQuadraticSpline(bins=10, bound=3.0),
                    supports=task.supports,
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
                    draws = posterior.sample((DRAWS,), x=task.seen(observed), show_progress_bars=False)
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
    torch.set_num_threads(1)  # networks this small are not faster with a second thread
    main(Path(os.environ["PUSHFORWARD_DATA"]) / "sbibm_reference_posteriors.npz", sys.argv[1:] or list(TASKS))

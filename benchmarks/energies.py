"""Posteriors by reverse KL: flows fitted to unnormalised densities, against the reference draws of posteriordb.

    python benchmarks/energies.py toys
    PUSHFORWARD_DATA=folder python benchmarks/energies.py garch-garch11 arma-arma11

The toys need no data: a ring of eight Gaussians of radius 4 and deviation 0.4, and Neal's funnel of ten dimensions, v
~ N(0, 3²) and nine x ~ N(0, exp(v)); log Z is 0 for both. The folder holds posteriordb_subset.npz: the data of each
posterior and 10,000 draws of it. The densities are written here from the Stan models (Magnusson et al. 2025,
arXiv:2407.04967), on the real line; each is centred at its mode and scaled by its curvature there, by Newton's
method. Then `pf.fit_density` trains a flow with standard settings.

Reported of 10,000 draws are their effective sample size, and the shape of their weights' tail (below 0.7 they can be
trusted: Vehtari et al. 2024, arXiv:1507.02646); C2ST of 2,000 of them, chosen by weight, which is 0.5 where they
have the distribution of the reference; and the largest errors of weighted means and deviations, in reference
deviations.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Beta, Cauchy, Gamma, MultivariateNormal, Normal

import pushforward as pf
from pushforward.evaluation import c2st, importance
from pushforward.moves import Affine, Composed, RationalQuadraticSpline
from pushforward.training import Annealing
from pushforward.transforms import Interval, Unconstrain

DRAWS = 10_000
POSITIVE = Interval(0)


class Posterior(NamedTuple):
    """log p̃ of parameters (n, k), each on its support, and their names in posteriordb."""

    supports: tuple[Interval, ...]
    log_density: Callable[[Tensor], Tensor]
    named: Callable[[Tensor], Tensor] = lambda p: p


def regression(y: Tensor, columns: list[Tensor], prior: Callable[[Tensor, Tensor], Tensor] | None = None) -> Posterior:
    """y ~ N(X β, σ), with β and σ flat if there is no prior."""
    design = torch.stack(columns, 1)

    def log_density(p: Tensor) -> Tensor:
        beta, sigma = p[:, :-1], p[:, -1]
        log_p = Normal(beta @ design.T, sigma[:, None]).log_prob(y).sum(1)
        return log_p if prior is None else log_p + prior(beta, sigma)

    return Posterior((Interval(),) * design.shape[1] + (POSITIVE,), log_density)


def half_cauchy(sigma: Tensor, scale: float) -> Tensor:
    return Cauchy(0.0, scale).log_prob(sigma)


def kidiq(data: dict[str, Tensor]) -> Posterior:
    one = torch.ones_like(data["mom_iq"])
    return regression(data["kid_score"], [one, data["mom_iq"]], lambda _, sigma: half_cauchy(sigma, 2.5))


def earnings(data: dict[str, Tensor]) -> Posterior:
    return regression(data["earn"].log(), [torch.ones_like(data["height"]), data["height"]])


def mesquite(data: dict[str, Tensor]) -> Posterior:
    volume = data["diam1"] * data["diam2"] * data["canopy_height"]
    return regression(data["weight"].log(), [torch.ones_like(volume), volume.log()])


def nes(data: dict[str, Tensor]) -> Posterior:
    ages = [(data["age_discrete"] == age).double() for age in (2, 3, 4)]
    first, last = ("real_ideo", "race_adj"), ("educ1", "gender", "income")
    columns = [torch.ones_like(ages[0]), *(data[n] for n in first), *ages, *(data[n] for n in last)]
    return regression(data["partyid7"], columns)


def blr(data: dict[str, Tensor]) -> Posterior:
    def prior(beta: Tensor, sigma: Tensor) -> Tensor:
        return Normal(0.0, 10.0).log_prob(torch.cat([beta, sigma[:, None]], 1)).sum(1)

    return regression(data["y"], list(data["X"].T), prior)


def kilpisjarvi(data: dict[str, Tensor]) -> Posterior:
    mean, deviation = (torch.stack([data[f"{kind}{name}"] for name in ("alpha", "beta")]) for kind in ("pmu", "ps"))
    columns = [torch.ones_like(data["x"]), data["x"]]
    return regression(data["y"], columns, lambda beta, _: Normal(mean, deviation).log_prob(beta).sum(1))


def eight_schools(data: dict[str, Tensor]) -> Posterior:
    """In standardised effects; the effects are reported."""

    def named(p: Tensor) -> Tensor:
        effects, mean, deviation = p.split((8, 1, 1), 1)
        return torch.cat([effects * deviation + mean, mean, deviation], 1)

    def log_density(p: Tensor) -> Tensor:
        log_p = Normal(named(p)[:, :8], data["sigma"]).log_prob(data["y"]).sum(1)
        prior = Normal(0.0, 1.0).log_prob(p[:, :8]).sum(1) + Normal(0.0, 5.0).log_prob(p[:, 8])
        return log_p + prior + half_cauchy(p[:, 9], 5.0)

    return Posterior((Interval(),) * 9 + (POSITIVE,), log_density, named)


def ark(data: dict[str, Tensor]) -> Posterior:
    """An autoregression on the last K values."""
    y, k = data["y"], int(data["K"])
    columns = [torch.ones_like(y[k:]), *(y[k - lag : len(y) - lag] for lag in range(1, k + 1))]
    return regression(
        y[k:], columns, lambda beta, sigma: Normal(0.0, 10.0).log_prob(beta).sum(1) + half_cauchy(sigma, 2.5)
    )


def arma(data: dict[str, Tensor]) -> Posterior:
    y = data["y"]

    def log_density(p: Tensor) -> Tensor:
        mu, phi, theta, sigma = p.unbind(1)
        errors = [y[0] - mu - phi * mu]
        for t in range(1, len(y)):
            errors.append(y[t] - mu - phi * y[t - 1] - theta * errors[-1])
        log_p = Normal(0.0, sigma[:, None]).log_prob(torch.stack(errors, 1)).sum(1)
        prior = Normal(0.0, 10.0).log_prob(mu) + Normal(0.0, 2.0).log_prob(phi) + Normal(0.0, 2.0).log_prob(theta)
        return log_p + prior + half_cauchy(sigma, 2.5)

    return Posterior((Interval(), Interval(), Interval(), POSITIVE), log_density)


def garch(data: dict[str, Tensor]) -> Posterior:
    """The last parameter is β₁ / (1 − α₁), on which β₁ is flat after its Jacobian."""
    y = data["y"]

    def named(p: Tensor) -> Tensor:
        return torch.cat([p[:, :3], p[:, 3:] * (1 - p[:, 2:3])], 1)

    def log_density(p: Tensor) -> Tensor:
        mu, alpha0, alpha1, beta1 = named(p).unbind(1)
        variances = [data["sigma1"].square().expand(len(p))]
        for t in range(1, len(y)):
            variances.append(alpha0 + alpha1 * (y[t - 1] - mu).square() + beta1 * variances[-1])
        log_p = Normal(mu[:, None], torch.stack(variances, 1).sqrt()).log_prob(y).sum(1)
        return log_p + torch.log1p(-alpha1)

    return Posterior((Interval(), POSITIVE, Interval(0, 1), Interval(0, 1)), log_density, named)


def gaussian_process(data: dict[str, Tensor]) -> Posterior:
    x, y = data["x"], data["y"]
    squares = (x[:, None] - x).square()

    def log_density(p: Tensor) -> Tensor:
        rho, alpha, sigma = (t[:, None, None] for t in p.unbind(1))
        covariance = alpha.square() * torch.exp(-0.5 * squares / rho.square()) + sigma * torch.eye(len(x)).to(x)
        log_p = MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y)
        prior = Gamma(25.0, 4.0).log_prob(p[:, 0]) + Normal(0.0, 2.0).log_prob(p[:, 1])
        return log_p + prior + Normal(0.0, 1.0).log_prob(p[:, 2])

    return Posterior((POSITIVE,) * 3, log_density)


def mixture(data: dict[str, Tensor]) -> Posterior:
    """The second parameter is by how much the second mean exceeds the first."""
    y = data["y"]

    def named(p: Tensor) -> Tensor:
        return torch.cat([p[:, :1], p[:, :1] + p[:, 1:2], p[:, 2:]], 1)

    def log_density(p: Tensor) -> Tensor:
        p = named(p)
        parts = Normal(p[:, None, :2], p[:, None, 2:4]).log_prob(y[:, None])
        shares = torch.stack([p[:, 4], 1 - p[:, 4]], 1).log()
        log_p = (parts + shares[:, None]).logsumexp(2).sum(1)
        return log_p + Normal(0.0, 2.0).log_prob(p[:, :4]).sum(1) + Beta(5.0, 5.0).log_prob(p[:, 4])

    return Posterior((Interval(), POSITIVE, POSITIVE, POSITIVE, Interval(0, 1)), log_density, named)


POSTERIORS = {
    "eight_schools-eight_schools_noncentered": eight_schools,
    "garch-garch11": garch,
    "low_dim_gauss_mix-low_dim_gauss_mix": mixture,
    "gp_pois_regr-gp_regr": gaussian_process,
    "arma-arma11": arma,
    "arK-arK": ark,
    "sblri-blr": blr,
    "kidiq-kidscore_momiq": kidiq,
    "earnings-logearn_height": earnings,
    "mesquite-logmesquite_logvolume": mesquite,
    "kilpisjarvi_mod-kilpisjarvi": kilpisjarvi,
    "nes1972-nes": nes,
}


class Whitened(NamedTuple):
    """A posterior on the real line, in units of its curvature at its mode: x = mode + scale u there."""

    posterior: Posterior
    mode: Tensor
    scale: Tensor

    def parameters(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """u -> parameters on their supports, and the log-det."""
        parameters, log_det = Unconstrain(self.posterior.supports).inverse(self.mode + u.double() @ self.scale.T)
        return parameters, log_det + torch.linalg.slogdet(self.scale).logabsdet

    def log_density(self, u: Tensor) -> Tensor:
        parameters, log_det = self.parameters(u)
        return (self.posterior.log_density(parameters) + log_det).to(u.dtype)

    def draws(self, u: Tensor) -> Tensor:
        return self.posterior.named(self.parameters(u)[0])


def whitened(posterior: Posterior) -> Whitened:
    size = len(posterior.supports)
    plain = Whitened(posterior, torch.zeros(size, dtype=torch.float64), torch.eye(size, dtype=torch.float64))

    def energy(z: Tensor) -> Tensor:
        return -plain.log_density(z[None]).sum()

    at = plain.mode
    for _ in range(200):  # Newton's method along every axis of the curvature, with half steps where a step overshoots
        values, vectors = torch.linalg.eigh(torch.autograd.functional.hessian(energy, at))  # pyright: ignore[reportArgumentType]
        scale = vectors / values.abs().sqrt()
        down = -scale @ (scale.T @ torch.autograd.functional.jacobian(energy, at))  # pyright: ignore
        steps = (at + 0.5**k * down for k in range(40))
        lower = next((step for step in steps if energy(step) < energy(at)), None)
        if lower is None:
            break
        at = lower
    return Whitened(posterior, at, scale)


def measured(name: str, arrays: np.lib.npyio.NpzFile) -> str:
    """A row of the table."""
    data = {key: torch.tensor(value).double() for key, value in json.loads(bytes(arrays[f"{name}|data_json"])).items()}
    reference = torch.from_numpy(arrays[f"{name}|draws"]).flatten(0, 1).double()
    target = whitened(POSTERIORS[name](data))
    torch.manual_seed(0)
    flow = pf.models.NSF(features=len(target.mode), transforms=4, hidden=(64, 64)).build()
    fitted = pf.fit_density(flow, target.log_density, steps=2000, lr=2e-3)
    found = importance(flow, target.log_density, DRAWS)
    draws, w = target.draws(found.x), found.weights
    again = draws[torch.multinomial(w, 2000)].float()  # duplicates would be recognised
    deviation = reference.std(0)
    mean = w @ draws
    errors = (mean - reference.mean(0)).abs() / deviation
    wide = ((w @ (draws - mean).square()).sqrt() / deviation - 1).abs()
    cells = (
        name.split("-")[-1],
        f"{reference.shape[1]}",
        f"{found.log_normaliser:.3f} ± {found.standard_error:.3f}",
        f"{found.effective / DRAWS:.1%}",
        f"{found.tail:.2f}",
        f"{c2st(reference[:: DRAWS // 2000].float(), again):.3f}",
        f"{errors.max():.3f}",
        f"{wide.max():.3f}",
        f"{fitted.seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def ring(x: Tensor) -> Tensor:
    angles = torch.arange(8) * math.pi / 4
    centres = 4 * torch.stack([angles.cos(), angles.sin()], 1)
    return Normal(centres, 0.4).log_prob(x[:, None]).sum(2).logsumexp(1) - math.log(8)


def modes_of(x: Tensor) -> int:
    """The number of the ring's Gaussians that have a hundredth of these draws or more."""
    place = (torch.atan2(x[:, 1], x[:, 0]) * 4 / math.pi).round().long() % 8
    return int((place.bincount() >= 0.01 * len(x)).sum())


def funnel(x: Tensor) -> Tensor:
    scale = (x[:, :1] / 2).exp()
    return Normal(0.0, 3.0).log_prob(x[:, 0]) + Normal(0.0, scale).log_prob(x[:, 1:]).sum(1)


SPLINE = RationalQuadraticSpline(bins=8, bound=5.0)
SMALL = pf.models.NSF(features=2, transforms=4, hidden=(32, 32))
TOYS: dict[str, tuple[Callable[[Tensor], Tensor], pf.models.VectorModel, dict[str, object]]] = {
    "ring, NSF": (ring, SMALL, {"lr": 3e-3}),
    "ring, NSF, annealed": (ring, SMALL, {"lr": 3e-3, "anneal": Annealing(width=4.0)}),
    "funnel, IAF": (funnel, pf.models.IAF(features=10), {}),
    "funnel, NSF": (funnel, pf.models.NSF(features=10), {}),
    "funnel, NSF of affine moves and splines": (
        funnel,
        pf.models.NSF(features=10, move=Composed(Affine(), SPLINE)),
        {},
    ),
}


def toys() -> None:
    """A row for each toy: the default plan, which is 1,000 steps of 256 draws."""
    print("| density, model | bound on log Z | log normaliser | effective | tail | modes found | training, s |")
    print("|---|---|---|---|---|---|---|")
    for name, (log_density, model, changes) in TOYS.items():
        torch.manual_seed(0)
        flow = model.build()
        fitted = pf.fit_density(flow, log_density, **changes)
        found = importance(flow, log_density, DRAWS)
        modes = f"{modes_of(found.x)} of 8" if log_density is ring else ""
        print(
            f"| {name} | {fitted.score:.3f} | {found.log_normaliser:.3f} ± {found.standard_error:.3f} | "
            f"{found.effective / DRAWS:.1%} | {found.tail:.2f} | {modes} | {fitted.seconds:.0f} |",
            flush=True,
        )


def main(folder: Path, names: list[str]) -> None:
    print("| posterior | features | log normaliser | effective | tail | C2ST | means | deviations | training, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with np.load(folder / "posteriordb_subset.npz") as arrays:
        for name in names:
            print(measured(name, arrays), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["toys"]:
        toys()
    else:
        main(Path(os.environ["PUSHFORWARD_DATA"]), sys.argv[1:] or list(POSTERIORS))

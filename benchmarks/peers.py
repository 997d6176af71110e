"""Flows of vectors of zuko and nflows, and ours, with as many steps and networks of the same width and depth.

Packages of the `dev` extra. Ours standardise first, and Real NVP has an actnorm after each coupling; the peers' flows
have neither. nflows' splines have a permutation and an LU map before each step and after the last, as
ours and those of Durkan et al. 2019; zuko's have none. Splines have 8 bins on ±5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import nflows.flows
import nflows.transforms as nt
import zuko
from nflows.distributions import StandardNormal
from nflows.nn.nets import MLP, ResidualNet
from nflows.utils import create_alternating_binary_mask
from torch import Tensor, nn

from pushforward.models import MAF, NSF, RealNVP

WIDTH, DEPTH = 128, 2  # hidden layers, or residual branches
HIDDEN = (WIDTH,) * DEPTH
SPLINE = {"num_bins": 8, "tails": "linear", "tail_bound": 5.0}

Make = Callable[[int, int], nn.Module]  # of this number of features and steps


class Unconditional(nn.Module):
    """A network that ignores the context argument."""

    def __init__(self, kept: int, answers: int):
        super().__init__()
        self.net = MLP([kept], [answers], HIDDEN)

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        return self.net(x)


def of_nflows(parts: list[nn.Module], features: int) -> nn.Module:
    return nflows.flows.Flow(nt.CompositeTransform(parts), StandardNormal([features]))


def nflows_realnvp(features: int, steps: int) -> nn.Module:
    masks = [create_alternating_binary_mask(features, even=i % 2 == 0) for i in range(steps)]
    return of_nflows([nt.AffineCouplingTransform(mask, Unconditional) for mask in masks], features)


def nflows_maf(features: int, steps: int) -> nn.Module:
    return nflows.flows.MaskedAutoregressiveFlow(features, WIDTH, steps, DEPTH - 1, use_residual_blocks=False)


def nflows_nsf(features: int, steps: int, *, step: Callable[[int], nn.Module]) -> nn.Module:
    mixed = [(nt.RandomPermutation(features), nt.LULinear(features)) for _ in range(steps + 1)]
    return of_nflows([*mixed[0], *(part for mixing in mixed[1:] for part in (step(features), *mixing))], features)


def coupling(features: int) -> nn.Module:
    net = partial(ResidualNet, hidden_features=WIDTH, num_blocks=DEPTH)
    return nt.PiecewiseRationalQuadraticCouplingTransform(create_alternating_binary_mask(features), net, **SPLINE)


def autoregressive(features: int) -> nn.Module:
    return nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        features=features, hidden_features=WIDTH, num_blocks=DEPTH, **SPLINE
    )


SIDES: dict[str, dict[str, Make]] = {
    "MAF": {
        "ours": lambda d, steps: MAF(features=d, transforms=steps, hidden=HIDDEN).build(),
        "zuko": lambda d, steps: zuko.flows.MAF(d, transforms=steps, hidden_features=HIDDEN),
        "nflows": nflows_maf,
    },
    "RealNVP": {
        "ours": lambda d, steps: RealNVP(features=d, transforms=steps, hidden=HIDDEN).build(),
        "zuko": lambda d, steps: zuko.flows.RealNVP(d, transforms=steps, hidden_features=HIDDEN),
        "nflows": nflows_realnvp,
    },
    "NSF, coupling": {
        "ours": lambda d, steps: NSF(features=d, transforms=steps, hidden=HIDDEN).build(),
        "nflows": partial(nflows_nsf, step=coupling),
    },
    "NSF, autoregressive": {
        "ours": lambda d, steps: NSF(features=d, transforms=steps, hidden=HIDDEN, autoregressive=True).build(),
        "zuko": lambda d, steps: zuko.flows.NSF(d, transforms=steps, hidden_features=HIDDEN, residual=True),
        "nflows": partial(nflows_nsf, step=autoregressive),
    },
}


def distribution(flow: nn.Module) -> nn.Module:
    """An object with log_prob and sample: a flow, or zuko's distribution."""
    return flow() if isinstance(flow, zuko.lazy.Flow) else flow

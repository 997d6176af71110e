"""Editing: what is added is read, ends are what was given, and chains that leave the density as it is."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward as pf
from pushforward.editing import Langevin, RandomWalk, directions, edit, inpaint, interpolate, read
from pushforward.moves import Shift
from pushforward.randomness import keyed
from tests.laws.cases import TOLERANCE
from tests.toys import plane

IMAGE, N = (2, 4, 4), 6
MODELS = {
    "TarFlow": lambda **c: pf.models.TarFlow(image=IMAGE, patch=2, steps=2, width=8, depth=1, **c),
    "TarFlow of measured variance": lambda **c: pf.models.TarFlow(
        image=IMAGE, patch=2, steps=2, width=8, depth=1, move=Shift(), **c
    ),
    "RealNVP": lambda **c: pf.models.RealNVP(image=IMAGE, levels=2, width=8, blocks=1, **c),
    "Glow": lambda **c: pf.models.Glow(image=IMAGE, levels=2, steps=2, width=8, **c),
    "FlowPlusPlus": lambda **c: pf.models.FlowPlusPlus(image=IMAGE, width=8, blocks=1, components=2, **c),
    "Jet": lambda **c: pf.models.Jet(image=IMAGE, patch=2, steps=5, width=8, depth=1, heads=1, **c),
}


@pytest.fixture(params=[(name, classes) for name in MODELS for classes in (0, 3)], ids=lambda p: f"{p[0]}-{p[1]}")
def flow(request) -> pf.Flow:
    """Every image flow, unconditional and by class, with weights that are far from those it starts with."""
    name, classes = request.param
    torch.manual_seed(0)
    flow = MODELS[name](classes=classes).build().double()
    with torch.no_grad():
        flow.initialise(images(1, 50), -1 if classes else None)
        for parameter in flow.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        if isinstance(flow.base, pf.bases.ObservedNormal):
            flow.base.variance.uniform_(0.1, 3)
    return flow


def images(seed: int = 0, n: int = N) -> torch.Tensor:
    return 2 * torch.rand(n, *IMAGE, generator=keyed(seed), dtype=torch.float64) - 1


CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=TOLERANCE[torch.float64], rtol=TOLERANCE[torch.float64])


def test_what_is_added_is_read(flow):
    x, d = images(), directions(flow, images(), CLASSES)
    before, amount = read(flow, x, d), torch.linspace(-1, 1, N, dtype=torch.float64)
    close(read(flow, edit(flow, x, d[1], 0.7), d[1]), before[:, 1] + 0.7)
    close(read(flow, edit(flow, x, d[2], amount), d[2]), before[:, 2] + amount)
    close(edit(flow, x, d[1], 0.0), x)
    close(edit(flow, edit(flow, x, d[0], 0.5), d[1], -1.0), edit(flow, x, 0.5 * d[0] - d[1], 1.0))

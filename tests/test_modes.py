"""Flows under torch's modes: without gradients, for inference, mapped by vmap, and on the meta device."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.training import Likelihood, Plan, minimise
from tests.toys import randomised, vector

MODES = [torch.no_grad, torch.inference_mode]
ROWS = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


def small(**options) -> pf.Flow:
    torch.manual_seed(0)
    return pf.models.RealNVP(**{"features": 2, "transforms": 2, "hidden": (8,), **options}).build()


TRAININGS = {
    "rows": lambda flow: pf.fit(flow, ROWS.clone(), steps=3, progress=False),
    "an energy": lambda flow: pf.fit_density(flow, lambda x: -x.square().sum(1), steps=3, progress=False),
    "an objective": lambda flow: minimise(
        Likelihood(flow, pf.codecs.Identity()), pf.data.Arrays(ROWS), Plan(steps=3, batch=8), progress=False
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", TRAININGS)
def test_a_training_is_the_same_under_every_mode(training, mode):
    expected, flow = small(), small()
    TRAININGS[training](expected)
    with mode():
        TRAININGS[training](flow)
    for name, tensor in flow.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=0, atol=0)
    assert all(p.requires_grad for p in flow.parameters())


@pytest.mark.parametrize("training", TRAININGS)
def test_weights_that_cannot_be_trained_are_refused(training):
    with pytest.raises(ValueError, match="no weight of the flow requires a gradient"):
        TRAININGS[training](small().requires_grad_(False))
    with torch.inference_mode():
        built = small()
    with pytest.raises(ValueError, match=r"built under torch.inference_mode\(\)"):
        TRAININGS[training](built)


def test_frozen_weights_stay_as_they_are():
    flow = small()
    frozen = list(flow.parameters())[2].requires_grad_(False)
    before = frozen.clone()
    pf.fit(flow, ROWS, steps=3, weight_decay=1.0, progress=False)
    assert torch.equal(frozen, before)


@pytest.mark.parametrize("mode", MODES)
def test_what_takes_gradients_itself_does_so_under_every_mode(mode):
    flow, x, c = randomised(vector(2, context=1)), torch.randn(3, 2), torch.randn(3, 1)
    clean = flow.denoise(x, 0.1, c)
    with mode():
        assert flow.check(x.clone(), c.clone()).log_det_error < 1e-4
        torch.testing.assert_close(flow.denoise(x.clone(), 0.1, c.clone()), clean)


def test_samples_are_drawn_under_vmap_and_on_the_meta_device():
    flow = randomised(vector(2, context=1))
    draws = torch.vmap(lambda c: flow.sample(4, c), randomness="different")(torch.randn(3, 1))
    assert draws.shape == (3, 4, 2)
    assert len(draws.unique(dim=0)) == 3
    assert small().to("meta").sample(4).shape == (4, 2)

"""No transform and no flow waits for its device, nor copies a constant to it: each can be part of a captured step."""

from __future__ import annotations

import pytest
import torch

from tests.kernels import switch
from tests.laws.cases import CASES
from tests.tape import NoWaits
from tests.test_images import SMALL
from tests.test_vectors import MODELS

SWEEPS = "a sweep counts the tokens that have converged"
STEPS = "steps are chosen by values"
WAITS = {  # (case, whether its inverse): why
    ("autoregressive/jacobi", True): SWEEPS,
    ("autoregressive/blockwise", True): SWEEPS,
    ("masked/jacobi", True): SWEEPS,
    ("residual", True): "it iterates until it has converged",
    ("residual/vector", True): "it iterates until it has converged",
    ("residual/roulette", True): "it iterates until it has converged",
    ("residual/roulette", False): "how many terms it adds is random",
    ("continuous", False): STEPS,
    ("continuous", True): STEPS,
    ("continuous/estimated", False): "the key of its probes is copied to the device",
    ("continuous/estimated", True): "the key of its probes is copied to the device",
}


@pytest.fixture(autouse=True)
def _tensors(monkeypatch):
    switch(monkeypatch, on=False)


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
@pytest.mark.parametrize("name", CASES)
def test_no_transform_waits(name, inverse):
    transform, case = CASES[name].build(torch.float32), CASES[name]
    context, given = case.context(3), (case.z if inverse else case.x)(3, torch.float32)
    for gradients in (False, True):
        if (name, inverse) not in WAITS:
            _call(transform.inverse if inverse else transform, given, context, gradients)
        elif not (gradients and WAITS[name, inverse] is SWEEPS):  # with gradients no sweeps are made
            with pytest.raises(RuntimeError, match="waits for the device"):
                _call(transform.inverse if inverse else transform, given, context, gradients)


def _call(door, given, context, gradients):
    with torch.set_grad_enabled(gradients), NoWaits():
        value, log_det = door(given.clone().requires_grad_(gradients), context)
        if gradients:
            (value.sum() + log_det.sum()).backward()


@pytest.mark.parametrize("name", [*SMALL, *MODELS])
def test_no_model_waits(name):
    """The density of a batch and its gradients."""
    flow = SMALL[name].build() if name in SMALL else MODELS[name](features=3, hidden=(8, 8)).build()
    context = torch.zeros(4, dtype=torch.long) if flow.classes else None
    x = torch.randn(4, *flow.event)
    given = flow.context(context)
    with NoWaits():
        flow.log_prob(x, given).mean().backward()

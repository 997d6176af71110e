"""Every model's page: its published sizes, and a small twin that learns, samples and denoises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pushforward.codecs import GaussianNoise
from pushforward.data import Arrays
from pushforward.models import TarFlow
from pushforward.moves import Shift
from pushforward.training import Likelihood, Plan, minimise

# the published configurations: (the model, its parameters, noise on [−1, 1])
TARFLOWS = {
    "mnist": (TarFlow(image=(1, 28, 28), patch=4, steps=4, width=128, depth=4, classes=10), 3_227_776, 0.1),
    "imagenet64": (TarFlow(image=(3, 64, 64), patch=2), 460_142_784, 0.05),
    "imagenet64 by class": (TarFlow(image=(3, 64, 64), patch=2, classes=1000), 466_286_784, 0.05),
    "imagenet128": (TarFlow(image=(3, 128, 128), patch=4, width=1024, classes=1000), 823_927_552, 0.15),
    "afhq256": (TarFlow(image=(3, 256, 256), patch=8, classes=3), 463_481_856, 0.07),
}


@pytest.mark.parametrize("name", TARFLOWS)
def test_tarflow_has_the_published_parameter_count(name):
    model, parameters, _ = TARFLOWS[name]
    with torch.device("meta"):
        flow = model.build()
    assert sum(p.numel() for p in flow.parameters()) == parameters


@pytest.mark.parametrize("name", TARFLOWS)
def test_twin_of_a_sixteenth_of_the_width_trains_samples_and_denoises(name):
    model, _, sigma = TARFLOWS[name]
    twin = replace(model, width=model.width // 16).build()
    images = torch.randint(256, (1, *model.image), dtype=torch.uint8)
    labels = torch.zeros(1, dtype=torch.long)
    before = twin.state_dict()["transform.parts.1.net.answer.weight"].clone()

    objective = Likelihood(twin, GaussianNoise(256, sigma), condition_dropout=0.1)
    data = Arrays(images, context=labels if model.classes else None)
    minimise(objective, data, Plan(steps=1, batch=1, lr=1e-3, warmup=1))
    assert not torch.equal(twin.state_dict()["transform.parts.1.net.answer.weight"], before)

    x = twin.sample(1, 0 if model.classes else None)
    clean = twin.denoise(x, sigma, 0 if model.classes else None)
    assert clean.shape == (1, *model.image)
    assert clean.isfinite().all()
    assert not torch.equal(clean, x)


def test_steps_read_in_alternating_order():
    """The first step leaves the first patch as it is, the second the last, and z stays in raster order."""
    flow = TarFlow(image=(1, 4, 4), patch=2, steps=2, width=8, depth=1).build()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    patches, first, second = (step.z for step in flow.trace(torch.randn(3, 1, 4, 4)))
    moved = [[not torch.equal(a[:, t], b[:, t]) for t in range(4)] for a, b in ((patches, first), (first, second))]
    assert moved == [[False, True, True, True], [True, True, True, False]]


def test_volume_preserving():
    flow = TarFlow(image=(1, 4, 4), patch=2, steps=2, width=8, depth=1, move=Shift()).build()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(100, 1, 4, 4)
    z, log_det = flow.transform(x)
    assert torch.all(log_det == 0)
    before = flow.log_prob(x).mean()
    for _ in range(100):
        flow.base.observe(z)
    assert flow.log_prob(x).mean() > before, "log_prob uses the base that observed"

"""Learned inverses: they align with the flow's own steps, sample like flows, and have no density."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.codecs import GaussianNoise, TrainedAutoencoder
from pushforward.objectives import InverseAlignment
from pushforward.randomness import Keyed
from pushforward.training import Plan, minimise

FLOWS = {
    "TarFlow": pf.models.TarFlow(image=(1, 4, 4), patch=2, transforms=3, width=16, depth=1, classes=3),
    "TarFlow without labels": pf.models.TarFlow(image=(1, 4, 4), patch=2, transforms=2, width=16, depth=1),
    "STARFlow of texts": pf.models.STARFlow(image=(2, 2, 2), width=64, depths=(1, 1), text=(3, 5)),
}
CONTEXT = {"TarFlow": torch.tensor([0, 1, 2, -1]), "STARFlow of texts": torch.randn(4, 3, 5)}


def random_flow(name: str) -> pf.Flow:
    torch.manual_seed(0)
    flow = FLOWS[name].build()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return flow


@pytest.mark.parametrize("name", FLOWS)
def test_states_are_those_of_the_flow_and_samples_have_its_shapes(name):
    flow, context = random_flow(name), CONTEXT.get(name)
    inverse = pf.LearnedInverse(flow, width=16, depth=1)
    x = torch.randn(4, *flow.event)
    states = inverse.states(x, flow.context(context))
    torch.testing.assert_close(inverse.tokens(x), states[0])
    torch.testing.assert_close(inverse.tokens(flow.encode(x, context)), states[-1])
    assert len(inverse.net(states[-1], flow.context(context))) == len(states)
    z = flow.base.sample(4, flow.context(context), generator=Keyed(0, rows=range(4)))
    start = inverse.decode(z, context)  # all answers are z
    torch.testing.assert_close(inverse.tokens(start), inverse.tokens(z))
    shape = () if context is not None else (4,)
    torch.testing.assert_close(inverse.sample(shape, context, generator=Keyed(0, rows=range(4))), start)
    assert not any(p.requires_grad for p in inverse.flow.parameters())
    assert all(p.requires_grad for p in flow.parameters())


def test_one_learns_the_inverse_and_removes_the_noise():
    """Of patches whose second half is the first, or minus it, by class."""
    torch.manual_seed(0)
    flow = random_flow("TarFlow")
    images = torch.randint(0, 17, (256, 1, 4, 4), dtype=torch.uint8)
    labels = torch.arange(256) % 3
    images[:, :, 2:] = torch.where(labels[:, None, None, None] == 0, images[:, :, :2], 16 - images[:, :, :2])
    codec, inverse = GaussianNoise(levels=17, sigma=0.1), pf.LearnedInverse(flow, width=32, depth=1)
    before = {name: p.clone() for name, p in inverse.flow.named_parameters()}
    objective = InverseAlignment(inverse, codec, condition_dropout=0.1)
    assert not objective.scores
    start = objective(images, labels, Keyed(0, rows=range(256)))[0].item()
    plan = Plan(steps=150, batch=64, lr=5e-3, average_decay=0.98)
    found = minimise(objective, pf.data.Arrays(images, labels), plan)
    assert isinstance(found, pf.LearnedInverse)
    assert InverseAlignment(found, codec)(images, labels, Keyed(0, rows=range(256)))[0] < start / 5
    assert all(torch.equal(before[name], p) for name, p in found.flow.named_parameters())
    x = codec.encode(images, Keyed(1, rows=range(256)))[0]
    error = (found.decode(flow.encode(x, labels), labels) - codec.clean(images)).square().mean()
    assert error < 0.1 * codec.clean(images).square().mean()


def test_the_codec_stays_that_of_the_flow():
    codec = TrainedAutoencoder(image=(1, 8, 8), latent=1, levels=17, width=4).build()
    before = [p.clone() for p in codec.parameters()]
    images = pf.data.Arrays(torch.randint(17, (8, 1, 8, 8)))
    objective = InverseAlignment(pf.LearnedInverse(random_flow("TarFlow without labels"), width=16, depth=1), codec)
    minimise(objective, images, Plan(steps=1, batch=8))
    assert all(torch.equal(a, b) for a, b in zip(before, codec.parameters(), strict=True))


def inverse() -> pf.LearnedInverse:
    return pf.LearnedInverse(random_flow("TarFlow"), width=16, depth=1)


def reversible() -> None:
    objective = InverseAlignment(inverse(), GaussianNoise(levels=17, sigma=0.1))
    images = pf.data.Arrays(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    minimise(objective, images, Plan(steps=1, batch=2, reversible=True))


ERRORS = {
    "no chain": (reversible, ValueError, "this flow is a learned inverse: give recomputed=True"),
    "no density": (lambda: inverse().log_prob(torch.zeros(1, 1, 4, 4)), TypeError, "Score events by the flow"),
    "no patches": (lambda: pf.LearnedInverse(pf.models.MAF(features=3).build()), ValueError, "transform is Patchify"),
    "a seed": (lambda: inverse().sample(seed=1), TypeError, "takes no seed="),
    "no label": (lambda: inverse().sample(2), ValueError, "without a context"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors(error):
    call, kind, message = ERRORS[error]
    with pytest.raises(kind, match=message):
        call()

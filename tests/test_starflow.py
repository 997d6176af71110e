"""STARFlow: agreement with the authors' model on its own weights, published sizes, images of any size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import pushforward as pf
from pushforward.codecs import Identity
from pushforward.guidance import GaussianProduct
from pushforward.interop import load_ml_starflow
from pushforward.models import STARFlow
from pushforward.moves import AffineParams
from pushforward.networks import LayerOptions, PrefixTransformer
from pushforward.objectives import LatentNorm, Likelihood
from pushforward.solve import blockwise_jacobi, jacobi, sequential
from pushforward.transform import Triangular
from pushforward.transforms import reversible
from tests.golden import agree, config, vectors, weights
from tests.toys import randomised

GOLDEN = "starflow_text_to_image"
CONFIG = config(GOLDEN)


@pytest.fixture
def golden():
    return load_ml_starflow(weights(GOLDEN), CONFIG), vectors(GOLDEN)


@torch.no_grad()
def test_latents_and_log_dets(golden):
    flow, given = golden
    steps = [step for step in flow.trace(given["x"], {"text": given["text"]}) if step.log_slopes.any()]
    assert len(steps) == 3
    for i, step in enumerate(steps):
        assert isinstance(step.transform, Triangular)
        agree(step.z, given[f"block_{i}_out"].flatten(1, 2))
        log_slopes = given[f"block_{i}_log_det_elementwise"]  # in the step's order: 0 and 2 are reversed
        agree(step.log_slopes, log_slopes if i == 1 else log_slopes.flip(1))
    z = flow.encode(given["x"], given["text"])
    agree(z, given["z"])
    log_slopes = sum(step.log_slopes.mean() for step in steps)
    agree(z.square().mean() / 2 - log_slopes, given["loss"][0])


@pytest.mark.parametrize("solve", [sequential, jacobi, blockwise_jacobi])
@pytest.mark.parametrize("weight", [0, 2])
@torch.no_grad()
def test_samples(golden, solve, weight):
    flow, given = golden
    if weight:
        flow = flow.guided(weight, rule=GaussianProduct(), conditions={"text": given["null_text"]})
    x = flow.decode(given["noise"], given["text"], solve=solve)
    agree(x, given["sample_cfg2.0" if weight else "sample"], 1e-4)  # through three steps


@torch.no_grad()
def test_guidance_acts_in_the_steps_that_read_the_context(golden):
    flow, given = golden
    everywhere, deep, shallow = (flow.guided(2.0, rule=GaussianProduct(), transforms=s) for s in (None, (2,), (0, 1)))
    z, text = given["noise"], given["text"]
    agree(everywhere.decode(z, text), deep.decode(z, text))
    agree(shallow.decode(z, text), flow.decode(z, text))
    assert (deep.decode(z, text) - flow.decode(z, text)).abs().max() > 0.1
    with pytest.raises(ValueError, match=r"guide 0 … 2; got \[3\]"):
        flow.guided(2.0, transforms=(3,))


def test_a_product_of_gaussians():
    """The rule's density is proportional to p_conditional^(1 + w) · p_null^(−w) where the null is the wider."""
    conditional, null = AffineParams(torch.tensor(-0.5), torch.tensor(1.0)), AffineParams(*torch.tensor([0.2, -0.3]))
    x, w = torch.linspace(-3, 3, 7, dtype=torch.float64), 1.7

    def log_density(params: AffineParams) -> torch.Tensor:
        return torch.distributions.Normal(params.shift.double(), params.log_scale.double().exp()).log_prob(x)

    product = log_density(GaussianProduct(w)(conditional, null, None))
    expected = (1 + w) * log_density(conditional) - w * log_density(null)
    torch.testing.assert_close(product.diff(), expected.diff(), rtol=1e-6, atol=1e-6)
    wide = GaussianProduct(w)(null, conditional, None)  # a narrower null: the ratio is clipped, and the scale stays
    torch.testing.assert_close(wide.log_scale, null.log_scale)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (STARFlow(text=(128, 2048)), 3_858_281_544),  # text to image, 3B of the paper's table
        (
            STARFlow(image=(48, 32, 32), deep_width=4096, text=(256, 2048)),
            6_890_096_528 - 912_884_784,
        ),  # less its denoiser
    ],
    ids=["text to image", "the steps of the video model"],
)
def test_published_sizes(model, parameters):
    with torch.device("meta"):
        flow = model.build()
    assert sum(p.numel() for p in flow.parameters()) == parameters


@torch.no_grad()
def test_images_of_any_size(golden):
    """The weights of a fixed size serve every size and aspect ratio, and agree at their own."""
    flow, given = golden
    model = STARFlow(image=(4, None, None), width=64, depths=(1, 1, 2), text=(6, 10), extent=8)
    free = model.build()
    free.load_state_dict({name.replace("transform.", "transform.step."): w for name, w in flow.state_dict().items()})
    agree(free.encode(given["x"], given["text"]), given["z"])
    wide = replace(model, image=(4, 4, 6)).build()
    wide.load_state_dict(flow.state_dict())
    x = torch.randn(2, 4, 4, 6)
    agree(free.encode(x, given["text"]), wide.encode(x, given["text"]))
    agree(free.decode(free.encode(x, given["text"]), given["text"]), x, 1e-4)
    assert free.sample(2, given["text"][0], size=(4, 2, 10)).shape == (2, 4, 2, 10)


def test_in_bfloat16_networks_are_narrow_and_the_flow_is_not(golden):
    flow, given = golden
    inner = []
    for part in flow.modules():
        if isinstance(part, PrefixTransformer):
            for layer in part.layers:
                layer.register_forward_pre_hook(lambda _, inputs: inner.append(inputs[0].dtype))
    narrow = flow.to(torch.bfloat16)
    z, log_det = narrow.transform(given["x"], narrow.context(given["text"]))
    assert set(inner) == {torch.bfloat16}
    assert len(inner) == 4
    assert (z.dtype, log_det.dtype) == (torch.float32, torch.float32)


def test_an_empty_text_is_the_null():
    flow = STARFlow(image=(2, 2, 2), width=32, depths=(1, 1), text=(3, 5), layer=LayerOptions(head=16)).build()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, text = torch.randn(4, 2, 2, 2), torch.randn(4, 3, 5)
    empty = flow.log_prob(x, torch.zeros(4, 0, 5))
    assert torch.equal(flow.log_prob(x, {"text": None}), empty)
    assert not torch.equal(flow.log_prob(x, text), empty)
    padded = torch.cat([text[:, :2], torch.zeros(4, 1, 5)], 1)
    assert torch.equal(flow.log_prob(x, text[:, :2]), flow.log_prob(x, padded))


ERRORS = {
    "text of too many tokens": (
        lambda flow: flow.encode(torch.zeros(1, 4, 8, 8), torch.zeros(1, 7, 10)),
        "of 6 tokens at",
    ),
    "text of other features": (lambda flow: flow.encode(torch.zeros(1, 4, 8, 8), torch.zeros(1, 6, 9)), r"\(1, 6, 9\)"),
    "a latent of another size": (
        lambda flow: flow.encode(torch.zeros(1, 4, 8, 6), torch.zeros(1, 6, 10)),
        "x has shape",
    ),
    "no text": (lambda flow: flow.sample(2), "without a context"),
    "text and classes": (lambda _: STARFlow(text=(3, 5), classes=2), "not both"),
    "heads in uneven groups": (
        lambda _: STARFlow(image=(1, 2, 2), width=128, depths=(1,), layer=LayerOptions(key_heads=3)).build(),
        "choose a divisor",
    ),
    "a setting that is not served": (lambda _: load_ml_starflow({}, CONFIG | {"adaln": 1}), "adaln=1"),
    "a checkpoint of something else": (lambda _: load_ml_starflow({}, CONFIG), "has no 'blocks.0"),
    "a checkpoint of another size": (
        lambda _: load_ml_starflow(weights(GOLDEN), CONFIG | {"channels": 128}),
        "in the checkpoint",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors(golden, error):
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        call(golden[0])


def test_one_trains():
    """Grey or white images with little noise: the flow is within half a nat a pixel of their entropy."""
    torch.manual_seed(0)
    flow = STARFlow(image=(1, 4, 4), width=64, depths=(1, 1), classes=2).build()
    labels = torch.arange(64) % 2
    x = 0.1 * torch.randn(64, 1, 4, 4) + labels[:, None, None, None]
    objective = pf.training.Likelihood(flow)
    plan = pf.training.Plan(steps=60, batch=64, lr=3e-3)
    final = pf.training.minimise(objective, pf.data.Arrays(x, context=labels), plan)
    gaussian = torch.distributions.Normal(0, 0.1).entropy() * -16  # the negative entropy of the noise, in nats
    assert final.log_prob(x, labels).mean() > gaussian - 16 * 0.5
    assert (final.classify(x) == labels).float().mean() > 0.9


@pytest.mark.parametrize("side", [4, None])
def test_latent_norms_are_penalised(side):
    """weight · Σ mean h², over the event and the output of every step but the last; a mean over weighted rows."""
    flow = randomised(STARFlow(image=(2, side, side), patch=2, width=64, depths=(1, 1, 1), classes=2).build()).double()
    x, labels, weights = torch.randn(3, 2, 4, 4).double(), torch.tensor([0, 1, 1]), torch.tensor([0.5, 1.0, 1.5])
    patches, *steps, _ = flow.transform.fitted_to(x)
    h, norms = patches.encode(x), 0
    for step in steps:
        norms, h = norms + h.square().flatten(1).mean(1), step.encode(h, flow.context(labels))
    objective = LatentNorm(weight=0.01).build(flow, Identity())
    penalised, logs = objective(x, labels, weights=weights)
    plain, plain_logs = Likelihood(flow)(x, labels, weights=weights)
    torch.testing.assert_close(penalised, plain + 0.01 * (weights * norms).mean())
    torch.testing.assert_close(logs["nats"], plain_logs["nats"])


def test_latent_norms_need_the_intermediate_values():
    flow = STARFlow(image=(2, 4, 4), width=64, depths=(1, 1)).build()
    with pytest.raises(ValueError, match="weight is a finite number of at least 0"):
        LatentNorm(weight=-1)
    objective = LatentNorm().build(flow, Identity())
    flow.transform = reversible(flow.transform)
    with pytest.raises(ValueError, match="train without it"):
        objective(torch.zeros(2, 2, 4, 4))

"""Denoisers: agreement with the authors' learned one, and what each computes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.codecs import CodedFlow, FrozenAutoencoder, GaussianNoise, Identity, UniformDequantization
from pushforward.conditions import NoiseLevel, Text
from pushforward.data import Arrays
from pushforward.denoising import Iterative, Learned, Score
from pushforward.guidance import GaussianProduct, Linear
from pushforward.interop import load_ml_denoiser, load_ml_itarflow, save_ml_tarflow
from pushforward.interop.ml_starflow import denoiser
from pushforward.models import MAF, ITARFlow, STARFlowV, TarFlow
from pushforward.networks import NoiseEmbedding, NoiseTransformer, ScaledRotary
from pushforward.objectives import Likelihood, MaximumLikelihood, NoiseLevels, WithDenoiser
from pushforward.randomness import keyed
from pushforward.recipes import RECIPES
from pushforward.sampling import Sampling
from pushforward.training import Plan, minimise
from tests.golden import agree, vectors, weights
from tests.toys import randomised

GOLDEN = "starflow_v_text_to_video"


@torch.no_grad()
def test_agrees_with_the_learned_denoiser_of_the_authors():
    learned, given = load_ml_denoiser(weights(GOLDEN), weights(GOLDEN).with_name("config.json")), vectors(GOLDEN)
    context = {"text": Text(6, 10).read(given["text"])}
    agree(learned.net(given["x"], context), given["denoiser_out"])


def test_published_size():
    config = {"in_channels": 48, "img_size": 32, "channels": 3072, "layers_per_block": [2], "txt_size": 256}
    config |= {"txt_dim": 2048, "conditional_denoiser": 1, "temporal_causal": 2, "denoiser_window": 10}
    with torch.device("meta"):
        net = denoiser(config)
    assert sum(p.numel() for p in net.parameters()) == 912_884_784
    assert net.window == (9, 1)


@pytest.mark.parametrize("depth", [1, 2])
def test_each_layer_looks_one_frame_ahead(depth):
    """With a window (before, after) a frame of n layers depends on n · before frames before it and n · after after."""
    net = randomised(
        NoiseTransformer((2, 1), positions=ScaledRotary((2, 2)), width=16, depth=depth, window=(2, 1))
    ).double()
    x = torch.randn(1, 9, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    reached = torch.stack([torch.autograd.grad(net(x)[0, q].sum(), x)[0][0].flatten(1).any(1) for q in range(9)])
    ahead = torch.arange(9) - torch.arange(9)[:, None]
    assert torch.equal(reached, (ahead >= -2 * depth) & (ahead <= depth))


def test_any_grid_and_a_video_of_one_frame():
    """The grid at construction has no effect; a video of one frame is an image; patches of any size go back; so does a
    batch without rows."""
    net = randomised(NoiseTransformer((3, 2), positions=ScaledRotary((1, 1)), width=16, depth=1)).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    net.requires_grad_(False)
    torch.testing.assert_close(net(x[:, None])[:, 0], net(x))
    assert net(x[:0]).shape == (0, 3, 4, 6)
    net.answer.weight.data.zero_()
    net.answer.bias.data[:] = torch.arange(12.0)
    expected = torch.nn.functional.pixel_shuffle(torch.arange(12.0).reshape(12, 1, 1).expand(2, 12, 2, 3), 2)
    torch.testing.assert_close(net(x), expected.double())


@pytest.mark.parametrize("step", [None, 0.1])
def test_a_learned_denoiser_of_the_exact_score_is_the_score(step):
    """A fresh flow has the density N(0, 1), whose score implies the noise sigma · x."""
    flow = TarFlow(image=(1, 4, 4), patch=2, transforms=2, width=8, depth=1).build()
    net = Scaled(1 if step else 0.6)
    x = torch.randn(3, 1, 4, 4)
    expected = flow.denoise(x, 0.1**0.5 if step else 0.6)
    torch.testing.assert_close(flow.denoise(x, 0.6, by=Learned(net, step=step)), expected)


class Scaled(torch.nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x, context):
        return self.factor * x


C, T, SHAPE = 0.5, 1.5, (100, 2)  # the deviation of clean events, and of the highest noise


def log_normal(x, context):
    """The density of N(0, C²) with noise of the level in the context."""
    deviation = (C**2 + context["noise"].value ** 2).sqrt()[:, None, None]
    return torch.distributions.Normal(0, deviation).log_prob(x).sum((1, 2))


def denoised(n, **options):
    sigma = torch.full((n,), T, dtype=torch.float64)
    x = (C**2 + T**2) ** 0.5 * torch.randn(n, *SHAPE, dtype=torch.float64)
    context = {"noise": NoiseLevel(0.1, T).null().each(lambda t: t.expand(n))}
    return x, Iterative(**options)(log_normal, x, sigma, context)


def test_one_step_is_tweedie_s_and_each_is_the_formula_s():
    """On a Gaussian the clean mean is x · C² / (C² + t²), at every level."""
    x, once = denoised(4, steps=1)
    torch.testing.assert_close(once, x * C**2 / (C**2 + T**2))
    x, thrice = denoised(4, steps=3, low=0.5)
    for t, t_next in ((1.5, 1.0), (1.0, 0.5), (0.5, 0.0)):
        clean = x * C**2 / (C**2 + t**2)
        x = clean + t_next / t * (x - clean)
    torch.testing.assert_close(thrice, x)


@pytest.mark.parametrize("stochastic", [False, True])
def test_many_steps_give_the_clean_distribution(stochastic):
    """One step gives the mean of clean events, whose deviation is too small: 0.16. Many steps give C."""
    x, clean = denoised(60, steps=200, low=0.01, stochastic=stochastic)
    assert clean.std().item() == pytest.approx(C, rel=0.03)  # 12,000 draws: a standard error of 0.6 %
    if not stochastic:  # the probability flow's solution
        torch.testing.assert_close(clean, x * C / (C**2 + T**2) ** 0.5, rtol=0.03, atol=0)


def test_steps_of_rows_do_not_depend_on_one_another():
    flow = randomised(ITARFlow(image=(1, 4, 4), width=16, depths=(1, 1), classes=3).build())
    x, labels, sigma = torch.randn(4, 1, 4, 4), torch.tensor([0, 1, 2, -1]), torch.tensor([0.3, 0.2, 0.1, 0.005])
    for by in (Score(), Iterative(3), Iterative(3, stochastic=True)):
        together = flow.denoise(x, sigma, labels, by=by)
        apart = [flow.denoise(x[i : i + 1], sigma[i], labels[i : i + 1], by=by) for i in range(4)]
        torch.testing.assert_close(together, torch.cat(apart))
    torch.testing.assert_close(flow.denoise(x, 0.2, labels, by=Iterative(1)), flow.denoise(x, 0.2, labels))


def test_events_of_16_bits_and_an_odd_number_of_elements_are_denoised():
    x = torch.randn(3, 1, 3, dtype=torch.bfloat16)
    context = {"noise": NoiseLevel(0.1, T).null().each(lambda t: t.expand(3))}
    denoised = Iterative(3, stochastic=True)(log_normal, x, torch.full((3,), T), context)
    assert denoised.shape == x.shape


@pytest.mark.parametrize("rule", [GaussianProduct(), Linear()])
def test_guidance_of_rows_does_not_depend_on_the_others(rule):
    """At every level: the null keeps the noise level."""
    flow = randomised(ITARFlow(image=(1, 4, 4), width=16, depths=(1, 1), classes=3).build()).guided(1.5, rule=rule)
    x, labels, noise = torch.randn(3, 1, 4, 4), torch.tensor([0, 1, 2]), torch.tensor([0.05, 0.2, 0.3])
    together = flow.encode(x, {"label": labels, "noise": noise})
    apart = [flow.encode(x[i], {"label": labels[i], "noise": noise[i]}) for i in range(3)]
    torch.testing.assert_close(together, torch.stack(apart))


def test_the_noise_level_may_be_left_out():
    for classes, given in ((0, None), (3, torch.tensor([0, 1]))):
        flow = randomised(ITARFlow(image=(1, 4, 4), width=16, depths=(1, 1), classes=classes).build())
        x = torch.randn(2, 1, 4, 4)
        told = {"noise": 0.3} | ({"label": given} if classes else {})
        highest = flow.log_prob(x, told)
        torch.testing.assert_close(flow.log_prob(x, given), highest)
        assert not torch.allclose(flow.log_prob(x, told | {"noise": [0.3, 0.1]})[1], highest[1])
        assert flow.sample(2 if given is None else (), given).shape == x.shape
    with pytest.raises(ValueError, match="takes noise levels 0.01 … 0.3, or None for the highest; got 0"):
        flow.log_prob(x, {"label": given, "noise": 0.0})


def test_the_embedding_of_a_noise_level():
    net = NoiseEmbedding(4)
    net.mlp = torch.nn.Sequential(torch.nn.Linear(4, 4))
    net.mlp[0].weight.data, net.mlp[0].bias.data = torch.eye(4), torch.zeros(4)
    level = torch.tensor([0.2])
    phases = level.log() * torch.tensor([1.0, 0.01])
    torch.testing.assert_close(
        net({"noise": NoiseLevel(0.1, 1).read(level)})[0], torch.cat([phases.sin(), phases.cos()])
    )


def test_a_checkpoint_of_itarflow():
    """Without an effect of the noise level it is a TarFlow, whose checkpoints agree with its authors' vectors."""
    tarflow = randomised(TarFlow(image=(3, 8, 8), patch=2, transforms=2, width=64, depth=2, classes=5).build())
    state = {name.replace("attn_blocks", "head_blocks"): value for name, value in save_ml_tarflow(tarflow).items()}
    for block in range(2):
        for layer, shape in (("0", (256, 64)), ("2", (64, 256))):
            state[f"blocks.{block}.time_embed.mlp.{layer}.weight"] = torch.zeros(shape)
            state[f"blocks.{block}.time_embed.mlp.{layer}.bias"] = torch.zeros(shape[0])
    config = {"in_channels": 3, "img_size": 8, "patch_size": 2, "channels": 64, "num_classes": 5}
    config |= {"layers_per_block": [2, 2], "t0": 0.01, "t1": 0.3}
    flow = load_ml_itarflow(state, config)
    x, labels = torch.randn(3, 3, 8, 8), torch.tensor([0, 4, -1])
    torch.testing.assert_close(flow.log_prob(x, labels), tarflow.log_prob(x, labels))
    state["blocks.1.time_embed.mlp.2.bias"] = torch.ones(64)
    assert not torch.allclose(load_ml_itarflow(state, config).log_prob(x, labels), tarflow.log_prob(x, labels))
    for wrong, message in (
        ({"shared_backbone": True}, "shared_backbone=True is not served; False is"),
        ({"channels": [64, 64]}, "one channels"),
    ):
        with pytest.raises(ValueError, match=message):
            load_ml_itarflow(state, config | wrong)
    with pytest.raises(ValueError, match=r"has no 'blocks.0"):
        load_ml_itarflow({}, config)


def test_likelihood_at_every_level():
    """A fresh flow is N(0, 1): the loss is the mean of t · (x² + log 2π) / 2, and x has the noise of its level."""
    flow = ITARFlow(image=(1, 8, 8), width=16, depths=(1, 1), classes=3, noise=(0.2, 0.8)).build()
    objective = NoiseLevels(condition_dropout=0.5).build(flow, GaussianNoise(17, 0.8))
    data, labels = torch.full((500, 1, 8, 8), 8, dtype=torch.uint8), torch.arange(500) % 3  # at 0
    x, given, t = objective.noisy(data, labels, torch.Generator().manual_seed(0))
    assert 0.2 < t.min() < 0.22
    assert 0.78 < t.max() < 0.8
    torch.testing.assert_close(x.flatten(1).std(1) / t, torch.ones(500), rtol=0.4, atol=0)  # 64 draws each
    torch.testing.assert_close(given["noise"].value, t)
    assert 200 < given["label"].null.sum() < 300
    loss, logs = objective(data, labels, torch.Generator().manual_seed(0))
    nats = (x.square() + math.log(2 * math.pi)).flatten(1).mean(1) / 2
    torch.testing.assert_close(loss, (t * nats).mean())
    torch.testing.assert_close(logs["nats/dim"], nats.mean())
    weights = torch.arange(500) / 249.5
    loss, logs = objective(data, labels, torch.Generator().manual_seed(0), weights)
    torch.testing.assert_close(loss, (weights * t * nats).mean())
    torch.testing.assert_close(logs["nats/dim"], (weights * nats).mean())
    with pytest.raises(ValueError, match="highest noise level, 0.8, and the codec adds noise of 0.1"):
        NoiseLevels().build(flow, GaussianNoise(17, 0.1))
    with pytest.raises(ValueError, match="told the noise level"):
        NoiseLevels().build(TarFlow(image=(1, 8, 8), width=16, depth=1).build(), GaussianNoise(17, 0.1))


def test_a_denoiser_beside_the_flow_learns_its_score():
    """The target is the noise that the flow's score implies; the flow's gradient is that of the likelihood alone."""
    model, codec = TarFlow(image=(1, 4, 4), patch=2, transforms=2, width=16, depth=1, classes=3), GaussianNoise(17, 0.3)
    flow = randomised(model.build())
    objective = WithDenoiser(width=16, depth=1).build(flow, codec)
    data, labels = torch.randint(17, (6, 1, 4, 4)), torch.arange(6) % 3
    x = codec.encode(data, torch.Generator().manual_seed(0))[0]
    alone = Likelihood(flow, codec)(data, labels, torch.Generator().manual_seed(0))[0]
    both = objective(data, labels, torch.Generator().manual_seed(0))[0]  # a fresh denoiser's answer is 0
    noise = (x - flow.denoise(x, 0.3, labels)) / 0.3
    torch.testing.assert_close(both - alone, noise.square().mean())
    weights = [*flow.transform.parameters()]
    gradients = [torch.autograd.grad(loss, weights, allow_unused=True) for loss in (alone, both)]
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(flow.denoise(x, 0.3, labels, by=flow.denoiser), x)
    fresh = model.build()  # N(0, 1), whose score implies the noise sigma · x
    fresh.transform.requires_grad_(False)
    objective = WithDenoiser(width=16, depth=1).build(fresh, codec)
    plan = Plan(steps=60, batch=6, lr=2e-2, warmup=5, average_decay=0)
    minimise(objective, Arrays(data, context=labels), plan, progress=False)
    noise = (x - fresh.denoise(x, 0.3, labels, by=fresh.denoiser)) / 0.3
    assert (noise - 0.3 * x).square().mean() < 0.2 * (0.3 * x).square().mean()


def test_a_denoiser_of_clips_sees_the_window():
    flow = STARFlowV(image=(1, 2, 2), frames=4, width=64, depths=(1, 1)).build()
    objective = WithDenoiser(width=16, depth=1, window=(0, 1)).build(flow, GaussianNoise(17, 0.3))
    assert objective(torch.randint(17, (3, 4, 1, 2, 2)))[0].isfinite()
    net = randomised(flow.denoiser.net)
    x = torch.randn(1, 4, 1, 2, 2)
    later = torch.cat([x[:, :2], torch.randn(1, 2, 1, 2, 2)], 1)
    same = (flow.denoise(x, 0.3, by=flow.denoiser) == flow.denoise(later, 0.3, by=flow.denoiser)).flatten(2).all(2)
    assert same.tolist() == [[True, False, False, False]]
    assert net.window == (0, 1)


@torch.no_grad()
def test_a_clip_of_one_frame_is_denoised_as_that_frame_of_a_longer_one():
    flow = STARFlowV(image=(1, 2, 2), width=64, depths=(1, 1)).build()
    WithDenoiser(width=16, depth=1, window=(0, 0)).build(flow, GaussianNoise(17, 0.3))
    randomised(flow.denoiser.net)
    x = torch.randn(1, 2, 1, 2, 2)
    one, both = (flow.denoise(x[:, :n], 0.3, by=flow.denoiser) for n in (1, 2))
    torch.testing.assert_close(one, both[:, :1])


def test_a_denoiser_beside_the_flow_logs_the_weighted_bound():
    flow, codec, logs = (
        randomised(TarFlow(image=(1, 4, 4), patch=2, width=16, depth=1).build()),
        GaussianNoise(17, 0.3),
        [],
    )
    for objective in (Likelihood(flow, codec), WithDenoiser(width=16, depth=1).build(flow, codec)):
        logs.append(objective(torch.arange(16).view(1, 1, 4, 4), None, keyed(0), torch.tensor([0.5]))[1])
    torch.testing.assert_close(*logs)


@pytest.mark.parametrize("config", [MaximumLikelihood(), WithDenoiser(width=16, depth=1)])
def test_a_tuned_decoder_takes_the_noise_out(config):
    """It begins as the frozen decoder, learns beside the flow, and sees images, or what the other makes of latents."""
    codec = FrozenAutoencoder(torch.nn.Identity(), torch.nn.Conv2d(3, 3, 1), levels=17, sigma=0.3, tuned=True)
    data = torch.randint(17, (6, 3, 4, 4))
    assert codec.tuned is not None
    latents = codec.clean(data)
    assert torch.equal(codec.of_noisy().decode(latents), codec.decode(latents))
    torch.testing.assert_close(codec.decoding_error(latents, latents), torch.zeros(6))
    expected = (codec.decoder(latents) - data / 16).square().flatten(1).mean(1)
    torch.testing.assert_close(codec.decoding_error(latents, data), expected)
    flow = TarFlow(image=(3, 4, 4), patch=2, transforms=2, width=16, depth=1).build()
    x = codec.encode(data, torch.Generator().manual_seed(1))[0]
    objective = config.build(flow, codec)
    frozen, before = codec.decoder.weight.clone(), codec.decoding_error(x, data).mean()
    minimise(objective, Arrays(data), Plan(steps=60, batch=6, lr=3e-2), progress=False)
    assert codec.decoding_error(x, data).mean() < 0.5 * before
    assert torch.equal(codec.decoder.weight, frozen)


ERRORS = {
    "no level": (lambda: Iterative()(log_normal, torch.zeros(1, 2), torch.ones(1), {}), "denoise by Score"),
    "no step": (lambda: Iterative(0), "steps is a finite number of at least 1; got 0"),
    "a vector": (lambda: WithDenoiser().build(MAF(features=2).build(), Identity()), "a model of images"),
    "no noise": (
        lambda: WithDenoiser().build(TarFlow(image=(1, 8, 8), width=16).build(), UniformDequantization(17)),
        "a codec that adds noise",
    ),
    "levels": (lambda: NoiseLevel(0.3, 0.1), "the highest noise level is a finite number of at least 0.3; got 0.1"),
    "no tuned decoder": (
        lambda: FrozenAutoencoder(torch.nn.Identity(), torch.nn.Identity()).of_noisy(),
        "tuned=True",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors(error):
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        call()


def test_no_learned_denoiser():
    with pytest.raises(ValueError, match="learnable_self_denoiser"):
        load_ml_denoiser({}, {"in_channels": 4, "img_size": 8})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a learned denoiser and a tuned decoder, and one of all noise levels: on the digits, hardly trained."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("digits_denoiser", "digits_itarflow"):
        recipe = RECIPES[name]()
        pf.train(replace(recipe, model=recipe.small().model, train=recipe.small().train), folder / name)
    return folder


@pytest.mark.parametrize(
    ("name", "kinds"), [("digits_denoiser", ("score", "learned")), ("digits_itarflow", ("score", "iterative"))]
)
def test_commands_choose_among_the_denoisers_of_a_run(run, name, kinds, tmp_path):
    drawn = {}
    for by in ("none", *kinds):
        told = pf.runs.denoise(run / name, tmp_path / "d.png", n=3, by=by)
        assert (told["noisy"] == told["denoised"]) == (by == "none")
        pf.sample(run / name, tmp_path / f"{by}.npz", n=3, sampling=Sampling(denoise=by))
        drawn[by] = np.load(tmp_path / f"{by}.npz")["images"]
    assert not np.array_equal(drawn["none"], drawn["score"])


@pytest.mark.parametrize(
    ("name", "by", "message"),
    [
        ("digits_itarflow", "learned", "no learned denoiser: train it with the objective WithDenoiser"),
        ("digits_denoiser", "iterative", r"knows one level of noise: train models\.ITARFlow"),
        ("digits_denoiser", "decoder", r"codec Autoencoder\(tuned=True\), or denoise by score"),
        ("digits_denoiser", "scores", "by score, learned, iterative, decoder, none; got 'scores'"),
    ],
)
def test_a_run_without_this_denoiser_says_how_to_get_one(run, name, by, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        pf.runs.denoise(run / name, tmp_path / "d.png", by=by)
    with pytest.raises(ValueError, match=message):
        pf.sample(run / name, tmp_path / "s.png", n=3, sampling=Sampling(denoise=by))


def test_events_that_a_tuned_decoder_reads_keep_their_noise():
    decoder, flow = torch.nn.Conv2d(3, 3, 1), TarFlow(image=(3, 4, 4), patch=2, transforms=2, width=16, depth=1).build()
    coded = CodedFlow(flow, FrozenAutoencoder(torch.nn.Identity(), decoder, levels=17, sigma=0.3, tuned=True))
    by, x = coded.denoised_by("decoder"), torch.randn(2, 3, 4, 4)
    assert torch.equal(by.denoise(x), x)
    torch.nn.init.zeros_(coded.codec.tuned.weight)
    assert not torch.equal(by.codec.decode(x), coded.codec.decode(x))
    assert torch.equal(by.denoised_by("none").codec.decode(x), by.codec.decode(x))

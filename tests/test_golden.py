"""Agreement with the TarFlow authors' model, on its own weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from pushforward.bases import ObservedNormal
from pushforward.conditions import rows
from pushforward.guidance import Linear
from pushforward.interop import load_ml_tarflow, save_ml_tarflow
from tests.golden import ROUNDING, agree, config, vectors, weights
from tests.toys import picture

MODELS = ["tarflow_class_conditional", "tarflow_unconditional", "tarflow_volume_preserving"]


def only(*names):
    """Run with the named models alone: the others have nothing to compare."""
    return pytest.mark.parametrize("golden", [f"tarflow_{name}" for name in names], indirect=True)


@pytest.fixture(params=MODELS)
def golden(request):
    name = request.param
    return load_ml_tarflow(weights(name), channels=config(name)["in_channels"]), vectors(name), name


@torch.no_grad()
def test_latents_log_dets_and_loss(golden):
    flow, given, _ = golden
    context = flow.context(given.get("y"))
    z, log_det = flow.transform(given["x"], context)
    agree(z, given["z"])
    agree(log_det / z[0].numel(), given["log_det_per_dim"])
    agree(z.square().mean() / 2 - (log_det / z[0].numel()).mean(), given["loss"][0])
    for i, step in enumerate(list(flow.trace(given["x"], context))[1:]):
        agree(step.z, given[f"block_{i}_out"])


@only("class_conditional")
@torch.no_grad()
def test_dropped_labels(golden):
    flow, given, _ = golden
    x, numbers = given["x"], given["z"][0].numel()
    for context, name in ((given["y_dropped"], "dropped"), (-1, "unconditional")):
        agree(flow.encode(x, context), given[f"z_{name}"])
        log_det = flow.transform(x, rows(flow.context(context), (len(x),)))[1]
        agree(log_det / numbers, given[f"log_det_{name}"])
    labels = given["y_dropped"]  # in their sampler a dropped label means the last class; ours goes back as it came
    agree(flow.decode(given["z_dropped"], labels), x)


GUIDANCE = {
    "sample": None,
    "sample_cfg1.5_constant_ab": {"weight": 1.5},
    "sample_cfg1.5_annealed_ab": {"weight": 1.5, "rule": Linear(schedule="linear")},
    "sample_cfg1.5_annealed_mean_only": {"weight": 1.5, "rule": Linear(on="mean", schedule="linear")},
    "sample_cfg0.8_tau0.5": {"weight": 0.8, "attention_temperature": 0.5},
}


def sample(golden, name, dtype, nudge=lambda t: t, **wrong):
    """Our sample of the authors' noise in `dtype`, where `nudge` changes the noise and the weights."""
    flow, given, _ = golden
    flow, labels, z = copy.deepcopy(flow).to(dtype), given.get("y"), given["noise"].to(dtype)
    for weight in flow.parameters():
        weight.copy_(nudge(weight))
    if hasattr(flow.base, "variance"):
        z = z * flow.base.variance.sqrt()
    if GUIDANCE[name] is not None:
        temperature = {"attention_temperature": 0.6} if labels is None else {}
        flow = flow.guided(**temperature | GUIDANCE[name] | wrong)
    return flow.decode(nudge(z), labels)


def rounded(seed):
    """Changes each element by up to one float32 rounding error."""
    generator, eps = torch.Generator().manual_seed(seed), torch.finfo(torch.float32).eps
    return lambda t: t * (1 + eps * (2 * torch.rand(t.shape, generator=generator, dtype=t.dtype) - 1))


def judge(golden, name):
    """Our sample in float64, and for each element how far rounding to float32 may take it.

    A strongly guided sample of random weights amplifies rounding, for some elements ten-thousandfold: two processors
    give float32 samples that differ by 0.2 in values of 500. So the limit is measured, and in float64, where every
    processor finds the same: the furthest of eight samples whose weights and noise were changed by a rounding error,
    times 8 for the operations that round again, plus what any pass may do. The authors' samples take a quarter of it.
    """
    exact = sample(golden, name, torch.float64)
    moved = [(sample(golden, name, torch.float64, rounded(seed)) - exact).abs() for seed in range(8)]
    return exact, 8 * torch.stack(moved).amax(0) + ROUNDING * (1 + exact.abs())


@pytest.mark.parametrize("name", GUIDANCE)
@torch.no_grad()
def test_samples(golden, name):
    """Theirs and ours are as near to ours in float64 as rounding allows, and wrong ones are not."""
    exact, limit = judge(golden, name)
    ours, theirs = sample(golden, name, torch.float32), golden[1][name]
    bounded = theirs.abs() < 1e3  # constant guidance of these random weights overflows, in the same pixels of both
    for x in (ours, theirs):
        assert ((x - exact).abs() <= limit)[bounded].all()
    assert torch.equal(ours.isfinite(), theirs.isfinite())
    assert bounded.float().mean() > 0.85
    wrong = {"weights and noise": {"nudge": lambda t: 1.0001 * t}}
    if guidance := GUIDANCE[name]:
        wrong["guidance"] = {"weight": guidance["weight"] + 1e-3}
        rule = guidance.get("rule", Linear())
        other = "constant" if rule.schedule == "linear" else "linear"
        wrong["schedule"] = {"rule": replace(rule, schedule=other)}
    for error, change in wrong.items():
        x = sample(golden, name, torch.float32, **change)
        assert not ((x - exact).abs() <= limit)[bounded].all(), f"an error in {error} was not seen"


@only("class_conditional", "unconditional")  # the authors' score of the third leaves its variance out
def test_denoising(golden):
    flow, given, _ = golden
    agree(flow.denoise(given["sample"], 0.1, given.get("y")), given["denoised_sigma0.1"])


def test_what_is_saved_is_what_was_loaded(golden, tmp_path):
    flow, _, name = golden
    theirs = torch.load(weights(name), weights_only=True)
    save_ml_tarflow(flow, tmp_path / "saved.pth")
    saved = torch.load(tmp_path / "saved.pth", weights_only=True)
    assert saved.keys() == theirs.keys()
    assert all(torch.equal(saved[name], theirs[name]) for name in theirs)


def test_errors(golden):
    flow, _, _ = golden
    state = save_ml_tarflow(flow)
    with pytest.raises(ValueError, match="do not make an image of 5 channels"):
        load_ml_tarflow(state, channels=5)
    with pytest.raises(ValueError, match="image_size"):
        load_ml_tarflow(state, channels=1, image_size=(8, 9))
    with pytest.raises(ValueError, match="has no 'blocks.0.proj_in.weight'"):
        load_ml_tarflow({"weight": torch.zeros(1)}, channels=1)
    for name in ("var", "blocks.1.proj_in.bias"):
        with pytest.raises(ValueError, match=f"has no '{name}'"):
            load_ml_tarflow({key: value for key, value in state.items() if key != name}, channels=flow.event[0])
        with pytest.raises(ValueError, match=rf"{name} has shape \(3,\) in the checkpoint"):
            load_ml_tarflow({**state, name: torch.ones(3)}, channels=flow.event[0])


def test_images_that_are_not_square_and_a_variance_that_is_not_one():
    flow = picture(image=(1, 4, 12))
    flow.base = ObservedNormal(*flow.base.event)
    flow.base.observe(3 * torch.ones(1, *flow.base.event))
    again = load_ml_tarflow(save_ml_tarflow(flow), channels=1, image_size=(4, 12))
    x, labels = torch.randn(2, 1, 4, 12), torch.tensor([0, -1])
    torch.testing.assert_close(again.log_prob(x, labels), flow.log_prob(x, labels))

"""Agreement with the TarFlow authors' model, on its own weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pushforward.bases import ObservedNormal
from pushforward.conditions import rows
from pushforward.interop import load_ml_tarflow, save_ml_tarflow
from tests.toys import picture

ROOT = Path(__file__).parent / "golden"
FOLDERS = ["tarflow_class_conditional", "tarflow_unconditional", "tarflow_volume_preserving"]
ONE_PASS, SAMPLE = 2e-5, 1e-4  # float32: one pass; a sample through several blocks, whose errors add up


def only(*names):
    """Run with the named models alone: the others have nothing to compare."""
    return pytest.mark.parametrize("golden", [f"tarflow_{name}" for name in names], indirect=True)


@pytest.fixture(params=FOLDERS)
def golden(request):
    folder = ROOT / request.param
    config = json.loads((folder / "config.json").read_text())
    flow = load_ml_tarflow(folder / "reference_state_dict.pth", channels=config["in_channels"])
    return flow, load_file(folder / "vectors.safetensors"), folder


def agree(ours, theirs, tolerance):
    """Relative to one or the value: strongly guided random weights make samples of up to a hundred."""
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_latents_log_dets_and_loss(golden):
    flow, vectors, _ = golden
    context = flow.context(vectors.get("y"))
    z, log_det = flow.transform(vectors["x"], context)
    agree(z, vectors["z"], ONE_PASS)
    agree(log_det / z[0].numel(), vectors["log_det_per_dim"], ONE_PASS)
    agree(z.square().mean() / 2 - (log_det / z[0].numel()).mean(), vectors["loss"][0], ONE_PASS)
    for i, step in enumerate(list(flow.trace(vectors["x"], context))[1:]):
        agree(step.z, vectors[f"block_{i}_out"], ONE_PASS)


@only("class_conditional")
@torch.no_grad()
def test_dropped_labels(golden):
    flow, vectors, _ = golden
    x, numbers = vectors["x"], vectors["z"][0].numel()
    for context, name in ((vectors["y_dropped"], "dropped"), (-1, "unconditional")):
        agree(flow.encode(x, context), vectors[f"z_{name}"], ONE_PASS)
        log_det = flow.transform(x, rows(flow.context(context), (len(x),)))[1]
        agree(log_det / numbers, vectors[f"log_det_{name}"], ONE_PASS)
    labels = vectors["y_dropped"]  # in their sampler a dropped label means the last class; ours goes back as it came
    agree(flow.decode(vectors["z_dropped"], labels), x, SAMPLE)


GUIDANCE = {
    "sample": None,
    "sample_cfg1.5_constant_ab": {"weight": 1.5},
    "sample_cfg1.5_annealed_ab": {"weight": 1.5, "schedule": "linear"},
    "sample_cfg1.5_annealed_mean_only": {"weight": 1.5, "schedule": "linear", "on": "mean"},
    "sample_cfg0.8_tau0.5": {"weight": 0.8, "attention_temperature": 0.5},
}


@pytest.mark.parametrize("name", GUIDANCE)
@torch.no_grad()
def test_samples(golden, name):
    flow, vectors, _ = golden
    labels, z = vectors.get("y"), vectors["noise"]
    if hasattr(flow.base, "variance"):
        z = z * flow.base.variance.sqrt()
    if GUIDANCE[name] is not None:
        temperature = {"attention_temperature": 0.6} if labels is None else {}
        flow = flow.guided(**temperature | GUIDANCE[name])
    x, theirs = flow.decode(z, labels), vectors[name]
    bounded = theirs.abs() < 1e3  # constant guidance of these random weights overflows, in the same pixels of both
    agree(x[bounded], theirs[bounded], SAMPLE)
    assert torch.equal(x.isfinite(), theirs.isfinite())
    assert bounded.float().mean() > 0.85


@only("class_conditional", "unconditional")  # the authors' score of the third leaves its variance out
def test_denoising(golden):
    flow, vectors, _ = golden
    agree(flow.denoise(vectors["sample"], 0.1, vectors.get("y")), vectors["denoised_sigma0.1"], SAMPLE)


def test_what_is_saved_is_what_was_loaded(golden, tmp_path):
    flow, _, folder = golden
    theirs = torch.load(folder / "reference_state_dict.pth", weights_only=True)
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


def test_images_that_are_not_square_and_a_variance_that_is_not_one():
    flow = picture(image=(1, 4, 12))
    flow.base = ObservedNormal(*flow.base.event)
    flow.base.observe(3 * torch.ones(1, *flow.base.event))
    again = load_ml_tarflow(save_ml_tarflow(flow), channels=1, image_size=(4, 12))
    x, labels = torch.randn(2, 1, 4, 12), torch.tensor([0, -1])
    torch.testing.assert_close(again.log_prob(x, labels), flow.log_prob(x, labels))

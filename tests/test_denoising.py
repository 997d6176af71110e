"""Denoisers: agreement with the authors' learned one, and what each computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pushforward.conditions import Text
from pushforward.denoising import Learned
from pushforward.interop import load_ml_denoiser
from pushforward.interop.ml_starflow import denoiser
from pushforward.models import TarFlow
from pushforward.networks import NoiseTransformer, ScaledRotary
from tests.toys import randomised

FOLDER = Path(__file__).parent / "golden" / "starflow_v_text_to_video"


@torch.no_grad()
def test_agrees_with_the_learned_denoiser_of_the_authors():
    learned = load_ml_denoiser(FOLDER / "reference_state_dict.pth", FOLDER / "config.json")
    vectors = load_file(FOLDER / "vectors.safetensors")
    context = {"text": Text(6, 10).read(vectors["text"])}
    torch.testing.assert_close(learned.net(vectors["x"], context), vectors["denoiser_out"], rtol=2e-5, atol=2e-5)


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
    """The grid at construction has no effect; a video of one frame is an image; patches of any size go back."""
    net = randomised(NoiseTransformer((3, 2), positions=ScaledRotary((1, 1)), width=16, depth=1)).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    net.requires_grad_(False)
    torch.testing.assert_close(net(x[:, None])[:, 0], net(x))
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


def test_no_learned_denoiser():
    with pytest.raises(ValueError, match="learnable_self_denoiser"):
        load_ml_denoiser({}, {"in_channels": 4, "img_size": 8})

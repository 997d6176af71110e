"""Held-out likelihoods and pictures."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from pushforward.evaluation import captioned, grid, held_out, save_picture
from pushforward.lift import Lift, Lifted
from tests.toys import picture


class Noiseless(Lift):
    """Data as it is, so that a bound is the same twice."""

    def lift(self, data, generator=None):
        return data.float() / 8 - 1, torch.zeros(len(data), device=data.device)

    def lower(self, x):
        return (x + 1) * 8


@pytest.mark.parametrize("batch", [2, 3, 10])
def test_held_out_is_the_bound_of_each_event_in_order(batch):
    lifted = Lifted(picture(), Noiseless())
    images, labels = torch.randint(17, (7, 1, 8, 8)), torch.tensor([0, 1, 2, -1, 0, 1, 2])
    for context in (labels, lifted.flow.embed(labels), 1, -1):
        log_p = held_out(lifted, images, context, batch=batch)
        torch.testing.assert_close(log_p, lifted.bound(images, context).detach())
    assert held_out(lifted, images[:0], 1, batch=batch).shape == (0,)
    assert held_out(Lifted(picture(classes=0), Noiseless()), images, batch=batch).shape == (7,)


def test_grid_maps_clips_and_fills_up_with_white():
    x = torch.tensor([-1.0, 0.0, 5.0]).reshape(3, 1, 1, 1)
    assert grid(x, 2, gap=0).tolist() == [[[0.0, 0.5], [1.0, 1.0]]]
    assert grid(x, 2, gap=1).shape == (1, 3, 3)
    assert grid(x, 2, gap=1)[0, 1].tolist() == [1.0, 1.0, 1.0]


def test_pictures_are_written(tmp_path):
    colour, grey = torch.rand(3, 4, 6), torch.rand(1, 4, 6)
    save_picture(colour, tmp_path / "new" / "colour.png")
    save_picture(grey, tmp_path / "grey.png")
    with Image.open(tmp_path / "new" / "colour.png") as image:
        assert (image.mode, image.size) == ("RGB", (6, 4))
    with Image.open(tmp_path / "grey.png") as image:
        assert (image.mode, image.getpixel((5, 3))) == ("L", round(grey[0, 3, 5].item() * 255))
    sheet = captioned({"one": grey, "two": grey, "three": grey}, columns=2, zoom=10)
    assert sheet.shape[0] == 3
    assert sheet.min() == 0, "captions are black"

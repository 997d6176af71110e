"""Codecs: there and back, and bounds that are bounds."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward import codecs
from pushforward.codecs import (
    Coarse,
    CodedFlow,
    ColumnDequantization,
    FrozenAutoencoder,
    FrozenClipAutoencoder,
    GaussianCodebook,
    GaussianNoise,
    Identity,
    TokenCells,
    TrainedAutoencoder,
    UniformDequantization,
    VariationalAutoencoder,
    bits_per_dim,
)
from pushforward.codecs.noise import log_sum_of_normals
from pushforward.randomness import Keyed
from pushforward.transforms import Integers, Unconstrain
from tests.tape import NoWaits
from tests.toys import plane

CODECS = {"uniform": UniformDequantization(5), "gaussian": GaussianNoise(5, 0.15)}


@pytest.fixture(params=CODECS)
def codec(request):
    return CODECS[request.param]


def test_there_and_back(codec):
    data = torch.arange(5).repeat(2, 20)
    x, log_q = codec.encode(data, torch.Generator().manual_seed(0))
    assert log_q.shape == (2,)
    assert (codec.decode(x) == data).float().mean() > (0.85 if isinstance(codec, GaussianNoise) else 0.999)
    assert torch.equal(x, codec.encode(data, torch.Generator().manual_seed(0))[0])
    assert codec.decode(torch.tensor([-9.0, 9.0])).tolist() == [0, 4]
    assert [t.shape for t in codec.encode(data[:0])] == [(0, 100), (0,)]


@pytest.mark.parametrize(
    "codec",
    [
        codecs.TokenCodebook(vocabulary=5, features=2),
        TrainedAutoencoder(image=(1, 8, 8), latent=4, levels=17),
        pf.models.Dequantiser(image=(1, 8, 8), width=8, blocks=1, components=2),
    ],
    ids=lambda codec: type(codec).__name__,
)
def test_a_codec_with_weights_prints_on_one_line(codec):
    """As it stands in results."""
    assert "\n" not in repr(codec.build())


def test_uniform_noise_fills_the_bins_of_the_definition():
    """x = 2 (v + u) / levels − 1, so that 256 levels are bins of 2/256 on [−1, 1]."""
    x, log_q = UniformDequantization(256).encode(torch.full((1, 1000), 255), torch.Generator().manual_seed(0))
    assert 1 - 2 / 256 <= x.min() < x.max() < 1
    torch.testing.assert_close(log_q, torch.tensor([1000 * math.log(128)]))


@pytest.mark.parametrize("u", [0.0, 2**-24, 0.5, 1 - 2**-24])
@pytest.mark.parametrize("levels", [2, 17, 256, 1000, 2**16, 2**17, 2**20])
def test_points_of_a_bin_decode_to_its_integer(levels, u, monkeypatch):
    """Also where rounding would take them to the next one."""
    monkeypatch.setattr(pf.codecs.integers, "draw", lambda _, shape, v, __: torch.full(shape, u, dtype=v.dtype))
    codec, data = UniformDequantization(levels), torch.arange(levels)[None]
    assert torch.equal(codec.decode(codec.encode(data)[0]).long(), data)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.int16, torch.int64, torch.bool])
@pytest.mark.parametrize(
    "codec", [UniformDequantization(256), Coarse(UniformDequantization(128)), GaussianNoise(256, 1e-4)]
)
def test_integers_of_every_type_are_encoded_alike(codec, dtype):
    data = torch.tensor([[0, 1, 0]])
    x = codec.encode(data, torch.Generator().manual_seed(0))[0]
    assert torch.equal(codec.encode(data.to(dtype), torch.Generator().manual_seed(0))[0], x)
    assert torch.equal(codec.clean(data.to(dtype)), codec.clean(data))


@pytest.mark.parametrize(("image", "halvings"), [((1, 7, 8), 1), ((1, 8, 6), 2), ((1, 8, 8), -1)])
def test_an_autoencoder_of_sides_that_cannot_be_halved_is_refused(image, halvings):
    with pytest.raises(ValueError, match=rf"halved {halvings} times, .*; the image is"):
        TrainedAutoencoder(image=image, latent=2, halvings=halvings)


@pytest.mark.parametrize("v", [0, -1, 100, 2**20])
@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])
def test_dequantised_integers_never_leave_their_bin(v, u, monkeypatch):
    """Not even where rounding would take them to its edge, at which a support ends."""
    monkeypatch.setattr(pf.codecs.columns, "draw", lambda _, shape, like, __: torch.full(shape, u, dtype=like.dtype))
    data = torch.tensor([[0.5, v]])
    x, log_q = ColumnDequantization((1,)).encode(data)
    assert torch.equal(ColumnDequantization((1,)).decode(x)[:, 1:], data[:, 1:])
    assert Unconstrain([Integers(v, v)])(x[:, 1:])[1].isfinite().all()
    assert x[0, 0] == 0.5
    assert log_q.item() == 0


def test_the_bound_tightens_to_the_probability(codec):
    """P(v) is the integral of p(x) P(v | x): of the bin for uniform noise, of Bayes' rule for Gaussian."""
    flow, picture = plane(), torch.tensor([[[[1, 3]]]])
    side = torch.linspace(-2, 2, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side).reshape(-1, 1, 1, 2)
    places = -1 + 2 * torch.arange(5) / 4
    if isinstance(codec, GaussianNoise):
        decoder = (-0.5 * ((grid[..., None] - places) / codec.sigma) ** 2).softmax(-1)
    else:
        bins = ((grid + 1) * 5 / 2).floor()
        decoder = (bins[..., None] == torch.arange(5)).double()
    with torch.no_grad():
        weight = decoder[:, 0, 0, 0, 1] * decoder[:, 0, 0, 1, 3]
        exact = (flow.log_prob(grid).exp() * weight).sum().log() + 2 * (side[1] - side[0]).log()
        coded, pictures = CodedFlow(flow, codec), picture.expand(200, -1, -1, -1)
        one, many = (coded.bound(pictures, samples=k, generator=torch.Generator().manual_seed(0)) for k in (1, 100))
    assert one.mean() < many.mean() <= exact + 0.01
    torch.testing.assert_close(many.double().mean(), exact, atol=0.03, rtol=0)


def test_pictures_of_bytes_and_more_levels():
    data = torch.tensor([[0, 128, 200, 255]], dtype=torch.uint8)
    torch.testing.assert_close(GaussianNoise(256, 0.1).clean(data), data / 127.5 - 1)
    assert torch.equal(GaussianNoise(256, 0.1).decode(GaussianNoise(256, 0.1).clean(data)), data)
    assert UniformDequantization(1000).decode(torch.tensor([0.9])).item() == 950


def test_a_uniform_density_on_the_bins_costs_log2_of_the_levels():
    class Cube(pf.bases.StandardNormal):
        def log_prob(self, z, context=None):
            return z.new_full((len(z),), -z[0].numel() * math.log(2))  # uniform on [−1, 1]

    flow = pf.Flow(pf.transforms.Flip(), Cube(6, 1), event=(6, 1))
    data = torch.randint(17, (4, 6, 1))
    bits = bits_per_dim(CodedFlow(flow, UniformDequantization(17)).bound(data), 6)
    torch.testing.assert_close(bits, torch.full((4,), math.log2(17)))


@pytest.mark.parametrize(
    ("levels", "sigma"),
    [(256, 0.1), (256, 0.05), (256, 0.048), (256, 0.03), (17, 0.1), (2, 5.0), (2, 0.3), (1000, 0.02), (4096, 0.5)],
)
def test_the_sum_over_levels_is_as_near_as_it_says(levels, sigma):
    x = torch.linspace(-1 - 7 * sigma, 1 + 7 * sigma, 1001, dtype=torch.float64)
    centres = codecs.placed(torch.arange(levels, dtype=torch.float64), levels)
    normals = torch.distributions.Normal(centres, sigma)
    for dtype, tolerance in ((torch.float64, 3e-8), (torch.float32, 2e-5)):
        exact = normals.log_prob(x.to(dtype)[:, None].double()).logsumexp(1)
        found = log_sum_of_normals(x.to(dtype), levels, sigma)
        torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=0)


def test_integers_that_cannot_be_looked_at_become_nan_where_they_are_wrong(codec):
    data, columns, noise = torch.tensor([[0, 4, 5, -1]]), torch.tensor([[0.5, 3.0], [0.5, 3.5]]), Keyed(0, rows=[0])
    with NoWaits():
        x, _ = codec.encode(data, noise)
        table, _ = ColumnDequantization((1,)).encode(columns)
    assert x.isnan().tolist() == [[False, False, True, True]]
    assert table.isnan().tolist() == [[False, False], [False, True]]


def test_an_untrained_tarflow_on_noise_has_the_known_bits():
    """A standard normal base on 256 uniform levels of [−1, 1]: log2(128) + (1/6 + log(2 pi)/2) / log 2 = 8.566."""
    flow = pf.models.TarFlow(image=(3, 8, 8), patch=2, transforms=2, width=16, depth=1).build()
    data = torch.randint(256, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bits = bits_per_dim(
            CodedFlow(flow, UniformDequantization(256)).bound(data, generator=torch.Generator().manual_seed(1)), 192
        )
    assert bits.mean() == pytest.approx(7 + (1 / 6 + math.log(2 * math.pi) / 2) / math.log(2), abs=0.02)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(1, 2), "takes integers 0 … 4; the data are torch.float32"),
        (torch.tensor([[0, 5]]), "takes 0 … 4; the data have 0 … 5"),
        (torch.tensor([[-1, 4]]), "takes 0 … 4; the data have -1 … 4"),
    ],
)
def test_data_that_are_no_such_integers_are_refused(codec, data, message):
    with pytest.raises(ValueError, match=message):
        codec.encode(data)


class Scaled(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


ALL = [
    (Identity(), torch.rand(2, 3), "nats", 1),
    (ColumnDequantization((1,)), torch.arange(6).reshape(2, 3), "nats", 1),
    (UniformDequantization(17), torch.arange(12).reshape(2, 1, 2, 3), "bits/dim", 6),
    (GaussianNoise(17, 0.1), torch.arange(12).reshape(2, 1, 2, 3), "bits/dim", 6),
    (Coarse(UniformDequantization(4), 16), torch.arange(12).reshape(2, 1, 2, 3), "bits/dim", 6),
    (TokenCells(7), torch.arange(6).reshape(2, 3), "nats/token", 3),
    (
        GaussianCodebook(6, 2, sigma=1e-3).requires_grad_(False),
        torch.arange(6).reshape(2, 3),
        "nats/token",
        3,
    ),
    (
        FrozenAutoencoder(nn.PixelUnshuffle(2), nn.PixelShuffle(2), levels=17),
        torch.arange(16).reshape(2, 1, 2, 4),
        "nats/dim",
        8,
    ),
    (
        FrozenClipAutoencoder(nn.PixelUnshuffle(2), nn.PixelShuffle(2), levels=17, later=0.5),
        torch.arange(16).reshape(2, 2, 1, 2, 2),
        "nats/dim",
        8,
    ),
    (
        VariationalAutoencoder(Scaled(8), Scaled(1 / 8), levels=17, sigma=0.1),
        torch.arange(16).reshape(2, 1, 2, 4),
        "bits/dim",
        8,
    ),
    (
        pf.models.Dequantiser(image=(1, 2, 4), levels=17).small().build(),
        torch.arange(16).reshape(2, 1, 2, 4),
        "bits/dim",
        8,
    ),
]


def test_every_codec_is_tried():
    exported = {kind for kind in vars(codecs).values() if inspect.isclass(kind) and issubclass(kind, codecs.Codec)}
    assert {kind for kind in exported if not inspect.isabstract(kind)} == {type(codec) for codec, *_ in ALL}


@pytest.mark.parametrize(("codec", "data", "unit", "count"), ALL)
def test_a_codec_has_a_unit_and_clean_is_the_mean_of_its_draws(codec, data, unit, count):
    assert codec.unit == unit
    assert codec.count(data).tolist() == [count, count]
    log_p = torch.tensor([-1.0, -3.0])
    expected = bits_per_dim(log_p, count) if unit.startswith("bits") else -log_p / count
    torch.testing.assert_close(codec.in_unit(log_p, data), expected)
    clean = codec.clean(data)
    assert torch.equal(codec.decode(clean), codec.decode(codec.encode(data)[0])) or codec.noise_sigma
    assert torch.equal(codec.clean(data), clean)
    with torch.no_grad():
        mean = torch.stack([codec.encode(data)[0] for _ in range(500)]).mean(0)
    torch.testing.assert_close(mean, clean.to(mean), atol=0.15 if unit == "nats" else 0.05, rtol=0)


def test_noise_is_taken_out_where_a_codec_adds_it():
    flow, x = plane(), torch.rand(3, 1, 1, 2, dtype=torch.float64)
    assert CodedFlow(flow, UniformDequantization(5)).denoise(x) is x
    coarse = Coarse(GaussianNoise(4, 0.3), 16)
    torch.testing.assert_close(CodedFlow(flow, coarse).denoise(x), flow.denoise(x, 0.3))


@pytest.mark.parametrize("levels", [2, 5])
def test_a_decoder_gives_probabilities_and_the_cost_is_that_of_the_definition(levels):
    """log_q = log N(x; encoder(v), sigma²) − log P(v | x), where P is a logistic's, integrated over bins."""
    codec = VariationalAutoencoder(Scaled(2.0), Scaled(0.4), levels=levels, sigma=0.5).double()
    x, every = torch.randn(7, 1, dtype=torch.float64), torch.arange(levels)[:, None]
    total = torch.stack([codec.log_likelihood(v.expand(7, 1), x).exp() for v in every]).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total))
    x, log_q = codec.encode(every, torch.Generator().manual_seed(0))
    at = (codecs.placed(every.double(), levels) - 0.4 * x) * math.exp(2)  # in scales
    half = math.exp(2) / (levels - 1)
    upper, lower = (at + half).sigmoid().where(every < levels - 1, 1), (at - half).sigmoid().where(every > 0, 0)
    normal = torch.distributions.Normal(2 * codecs.placed(every.double(), levels), 0.5)
    torch.testing.assert_close(log_q, (normal.log_prob(x) - (upper - lower).log())[:, 0])


def test_an_autoencoder_learns_with_the_flow():
    """One step changes weights of both networks, of the scale, and of the flow."""
    codec = TrainedAutoencoder(image=(1, 4, 4), latent=2, levels=17, width=8).build()
    flow = pf.models.TarFlow(image=(2, 2, 2), patch=1, transforms=1, width=16, depth=1).build()
    parts = codec.encoder, codec.decoder, flow
    before = [torch.cat([p.detach().flatten() for p in part.parameters()]).clone() for part in parts]
    scale, images = codec.log_scale.item(), torch.randint(17, (8, 1, 4, 4))
    objective, plan = pf.training.Likelihood(flow, codec), pf.training.Plan(steps=1, batch=8, average_decay=0)
    pf.training.minimise(objective, pf.data.Arrays(images), plan, progress=False)
    after = [torch.cat([p.detach().flatten() for p in part.parameters()]) for part in parts]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert codec.log_scale.item() != scale
    assert codec.decode(torch.randn(3, 2, 2, 2)).shape == (3, 1, 4, 4)

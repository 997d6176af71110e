"""Editing: what is added is read, ends are what was given, and chains that leave the density as it is."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward as pf
from pushforward.editing import Langevin, RandomWalk, directions, edit, inpaint, interpolate, read, vary
from pushforward.moves import Shift
from pushforward.randomness import Keyed, keyed
from tests.laws.cases import TOLERANCE
from tests.toys import plane

IMAGE, N = (2, 4, 4), 6
MODELS = {
    "TarFlow": lambda **c: pf.models.TarFlow(image=IMAGE, patch=2, transforms=2, width=8, depth=1, **c),
    "TarFlow of observed variance": lambda **c: pf.models.TarFlow(
        image=IMAGE, patch=2, transforms=2, width=8, depth=1, move=Shift(), **c
    ),
    "RealNVP": lambda **c: pf.models.RealNVP(image=IMAGE, levels=2, width=8, blocks=1, **c),
    "Glow": lambda **c: pf.models.Glow(image=IMAGE, levels=2, transforms=2, width=8, **c),
    "FlowPlusPlus": lambda **c: pf.models.FlowPlusPlus(image=IMAGE, width=8, blocks=1, components=2, **c),
    "Jet": lambda **c: pf.models.Jet(image=IMAGE, patch=2, transforms=5, width=8, depth=1, heads=1, **c),
}


@pytest.fixture(params=[(name, classes) for name in MODELS for classes in (0, 3)], ids=lambda p: f"{p[0]}-{p[1]}")
def flow(request) -> pf.Flow:
    """Every image flow, unconditional and by class, with weights that are far from those it starts with."""
    name, classes = request.param
    torch.manual_seed(0)
    flow = MODELS[name](classes=classes).build().double()
    with torch.no_grad():
        flow.initialize(images(1, 50), -1 if classes else None)
        for parameter in flow.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        if isinstance(flow.base, pf.bases.ObservedNormal):
            flow.base.variance.uniform_(0.1, 3)
    return flow


def images(seed: int = 0, n: int = N) -> torch.Tensor:
    return 2 * torch.rand(n, *IMAGE, generator=keyed(seed), dtype=torch.float64) - 1


CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=TOLERANCE[torch.float64], rtol=TOLERANCE[torch.float64])


def test_what_is_added_is_read(flow):
    x, d = images(), directions(flow, images(), CLASSES)
    before, amount = read(flow, x, d), torch.linspace(-1, 1, N, dtype=torch.float64)
    close(read(flow, edit(flow, x, d[1], 0.7), d[1]), before[:, 1] + 0.7)
    close(read(flow, edit(flow, x, d[2], amount), d[2]), before[:, 2] + amount)
    close(edit(flow, x, d[1], 0.0), x)
    close(edit(flow, edit(flow, x, d[0], 0.5), d[1], -1.0), edit(flow, x, 0.5 * d[0] - d[1], 1.0))
    close(edit(flow, x, d[CLASSES], amount)[2:3], edit(flow, x[2:3], d[2], amount[2]))
    if flow.classes:
        told = edit(flow, x, d[1], 0.7, context=CLASSES)
        close(read(flow, told, d[1], context=CLASSES), read(flow, x, d[1], context=CLASSES) + 0.7)


def test_directions_are_differences_of_mean_latents_of_one_scale(flow):
    x = images(2, 150)  # more than a chunk
    has = torch.stack([torch.arange(150) % 2 == 0, torch.arange(150) < 70], 1)
    d = directions(flow, x, has)
    z = flow.encode(x, -1 if flow.classes else None).detach()
    if isinstance(flow.base, pf.bases.ObservedNormal):
        z = z / flow.base.variance.sqrt()
    close(d, torch.stack([z[row].mean(0) - z[~row].mean(0) for row in has.T]))
    close(directions(flow, x, has[:, 0]), d[:1])
    difference = read(flow, x[has[:, 0]], d[0]).mean() - read(flow, x[~has[:, 0]], d[0]).mean()
    close(difference, torch.ones_like(difference))


def test_a_line_of_latents_ends_at_its_two_images(flow):
    a, b = images(0, 3), images(1, 3)
    line = interpolate(flow, a, b, 5)
    close(torch.stack([line[:, 0], line[:, -1]]), torch.stack([a, b]))
    close(line[:, 1:2], interpolate(flow, line[:, 0], line[:, 2], 3)[:, 1:2])
    cold = interpolate(flow, a, b, 2, temperature=0.0)
    close(cold[:, 0], cold[:, 1])
    if flow.classes:
        labels = torch.tensor([0, 1, 2])
        close(interpolate(flow, a, b, 3, context=labels)[1:2], interpolate(flow, a[1:2], b[1:2], 3, context=1))


def test_a_stream_of_integers_is_encoded_by_row_number_a_chunk_at_a_time():
    fetched = []

    class Stream(pf.data.Images):
        def fetch(self, rows):
            fetched.append(len(rows))
            return super().fetch(rows)

    flow, data = MODELS["RealNVP"]().build(), Stream(torch.arange(100 * 32).reshape(100, *IMAGE) % 256)
    labels = torch.arange(100) % 3
    d = directions(flow, data, labels, codec=pf.codecs.UniformDequantization(256))
    assert fetched == [64, 36]
    x = torch.cat(
        [pf.codecs.UniformDequantization(256).encode(data.images[i : i + 1], Keyed(0, rows=[i]))[0] for i in range(100)]
    )
    torch.testing.assert_close(d, directions(flow, x, labels))


def test_variations_keep_the_rest_of_the_latent(flow):
    x, given = images(), CLASSES if flow.classes else None
    z = flow.encode(x, given)
    anew = torch.zeros(z.shape[1:], dtype=torch.bool)
    anew.view(-1)[::3] = True
    varied = vary(flow, x, anew, 2, context=given, generator=Keyed(0, rows=range(2 * N)))
    assert varied.shape == (N, 2, *IMAGE)
    for k in range(2):
        again = flow.encode(varied[:, k], given)
        close(again[:, ~anew], z[:, ~anew])
        assert (again[:, anew] != z[:, anew]).all()
    close(vary(flow, x, torch.tensor(False), 1, context=given)[:, 0], x)
    alone = vary(flow, x[:1], anew, 2, context=None if given is None else given[:1], generator=Keyed(0, rows=range(2)))
    close(alone, varied[:1])


def test_what_is_drawn_anew_is_of_the_base():
    """Of a logistic base the variance is π² / 3; angles are uniform."""
    mask, one = torch.tensor(True), torch.zeros(1, 2)
    varied = vary(pf.models.NICE(features=2).build(), one, mask, 5000)
    assert varied.std() == pytest.approx(math.pi / 3**0.5, rel=0.05)
    supports = (pf.transforms.Circle(0, 1), pf.transforms.Interval())
    varied = vary(pf.models.CircularNSF(features=2, supports=supports).build(), one, mask, 5000)[0, :, 0]
    assert varied.std() == pytest.approx(12**-0.5, rel=0.05)


def test_errors_of_variations():
    flow = MODELS["RealNVP"]().build()
    for mask in (torch.ones(3, dtype=torch.bool), torch.ones(32)):
        with pytest.raises(ValueError, match="bool that broadcasts to"):
            vary(flow, images().float(), mask, 1)
    with pytest.raises(ValueError, match="at least one variation"):
        vary(flow, images().float(), torch.tensor(True), 0)


PROPOSALS = [RandomWalk(0.3), Langevin(0.3)]
MISSING = torch.tensor([[False, True], [True, False]])


def gaussian() -> tuple[pf.Flow, torch.Tensor]:
    """A flow of 2 × 2 pixels whose density is normal, and the inverse of its covariance."""
    torch.manual_seed(0)
    flow = pf.Flow(
        pf.Chain(pf.transforms.Squeeze(), pf.transforms.LU(4, seed=1)),
        pf.bases.StandardNormal(4, 1, 1),
        event=(1, 2, 2),
    ).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    at = torch.eye(4, dtype=torch.float64).reshape(4, 1, 2, 2)
    root = (flow.encode(at) - flow.encode(torch.zeros_like(at))).flatten(1)
    return flow, (root @ root.T).detach()


@pytest.mark.parametrize("proposal", PROPOSALS, ids=repr)
def test_the_missing_pixels_of_a_normal_density_come_to_their_conditional(proposal):
    flow, precision = gaussian()
    x = torch.tensor([0.3, 2.0, -2.0, -0.5], dtype=torch.float64).expand(3000, 4).reshape(-1, 1, 2, 2)
    filled = inpaint(flow, x, MISSING, 120, proposal=proposal, generator=keyed(1))
    a, b = MISSING.flatten(), ~MISSING.flatten()
    mean = flow.decode(torch.zeros(1, 4, 1, 1, dtype=torch.float64)).flatten().detach()
    covariance = torch.linalg.inv(precision[a][:, a])
    mean = mean[a] - covariance @ precision[a][:, b] @ (x[0].flatten() - mean)[b]
    got = filled.images.flatten(1)[:, a]
    deviation = covariance.diagonal().sqrt()
    assert ((got.mean(0) - mean).abs() < 4 * deviation / math.sqrt(len(x))).all()
    spread = deviation[:, None] * deviation
    assert ((got.T.cov() - covariance).abs() < 4 * math.sqrt(2) * spread / math.sqrt(len(x))).all()
    assert torch.equal(filled.images.flatten(1)[:, b], x.flatten(1)[:, b])


@pytest.mark.parametrize("proposal", PROPOSALS, ids=repr)
def test_the_missing_pixel_of_a_tarflow_comes_to_its_conditional(proposal):
    """Of two pixels the second, given the first: its moments by a grid, its chains from far off."""
    flow, grid = plane(), torch.linspace(-8, 8, 2001, dtype=torch.float64)
    known = torch.full_like(grid, 0.7)
    with torch.no_grad():
        p = flow.log_prob(torch.stack([known, grid], 1).reshape(-1, 1, 1, 2)).softmax(0)
    mean = (p * grid).sum()
    variance = (p * (grid - mean) ** 2).sum()
    start = torch.tensor([0.7, 3.0], dtype=torch.float64).expand(2000, 1, 1, 2)
    got = inpaint(flow, start, torch.tensor([False, True]), 60, proposal=proposal, generator=keyed(0)).images[..., 1]
    assert abs(got.mean() - mean) < 4 * (variance / len(got)) ** 0.5
    spread = ((p * (grid - mean) ** 4).sum() - variance**2) ** 0.5
    assert abs(got.var() - variance) < 4 * spread / len(got) ** 0.5


@pytest.mark.parametrize("proposal", [RandomWalk(0.8, adapted=False), Langevin(1.2, adapted=False)], ids=repr)
def test_detailed_balance(proposal):
    """Of draws of the flow, a step makes draws of the flow, and which of the two came first cannot be told."""
    flow, mask = plane(), torch.tensor([False, True])
    before = flow.sample(20_000, generator=keyed(0))
    after = inpaint(flow, before, mask, 1, proposal=proposal, generator=keyed(1))
    assert 0.1 < after.acceptance.mean() < 0.9
    x, y = before[..., 1].flatten(), after.images[..., 1].flatten()
    for odd in (x - y, x**2 - y**2, x * y**2 - y * x**2, x * y**3 - y * x**3):
        assert abs(odd.mean()) < 4 * odd.std() / len(odd) ** 0.5


def test_known_pixels_keep_their_bits_and_chains_move(flow):
    x, mask = images(), torch.rand(N, 1, 4, 4, generator=keyed(3)) < 0.4
    filled = inpaint(flow, x, mask, 6, generator=keyed(0))
    assert torch.equal(filled.images[~mask.expand_as(x)], x[~mask.expand_as(x)])
    assert (filled.images != x).any()
    assert 0 < filled.acceptance.mean() <= 1
    if flow.classes:
        told = inpaint(flow, x, mask, 6, context=CLASSES, generator=keyed(0)).images
        assert not torch.equal(told, filled.images)


@pytest.mark.parametrize("proposal", PROPOSALS, ids=repr)
def test_a_chain_does_not_depend_on_those_beside_it(proposal):
    flow, x, mask = plane(classes=2), torch.zeros(3, 1, 1, 2, dtype=torch.float64), torch.tensor([True, False])
    together = inpaint(flow, x, mask, 9, proposal=proposal, context=1, generator=Keyed(0, rows=range(3)))
    alone = inpaint(flow, x[1:2], mask, 9, proposal=proposal, context=1, generator=Keyed(0, rows=[1]))
    close(together.images[1:2], alone.images)
    close(together.scale[1:2], alone.scale)
    assert len(together.scale.unique()) == 3


def test_what_overflows_is_never_accepted():
    flow = MODELS["RealNVP"]().build()  # nothing lies outside ±1.11
    x = images().float()
    for proposal in (RandomWalk(1e30, adapted=False), Langevin(1e30, adapted=False), RandomWalk(50.0, adapted=False)):
        filled = inpaint(flow, x, torch.tensor(True), 3, proposal=proposal)
        assert torch.equal(filled.images, x)
        assert (filled.acceptance == 0).all()
    found = inpaint(flow, x, torch.tensor(True), 200, proposal=RandomWalk(50.0), generator=keyed(0))
    assert found.acceptance.mean() > 0.1
    assert found.images.isfinite().all()
    assert str(found).startswith("accepted ")
    assert not str(found).endswith("estimated")


def test_a_chain_says_where_its_densities_are_estimates():
    flow = pf.models.FlowMatching(features=2, hidden=(4,), divergence=pf.solve.Hutchinson()).build()
    assert str(inpaint(flow, torch.zeros(1, 2), torch.arange(2) > 0, 1)).endswith("; log-dets estimated")


RANDOM = torch.zeros(4, *IMAGE)
HALF = torch.ones(4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: directions(f, RANDOM, torch.zeros(4, dtype=torch.long)), "4 of 4 have attribute 0"),
        (lambda f: directions(f, RANDOM[:0], torch.zeros(0, dtype=torch.long)), "a row for each of 0 images"),
        (lambda f: directions(f, RANDOM, torch.tensor([0, 2, 0, 2])), "0 of 4 have attribute 1"),
        (
            lambda f: directions(f, RANDOM, HALF[:3]),
            r"a row for each of 4 images; these are torch.bool of shape \(3,\)",
        ),
        (lambda f: directions(f, RANDOM, torch.zeros(4, 2)), "torch.float32 of shape"),
        (lambda f: directions(f, RANDOM, torch.tensor([0, 1, -1, 1])), "classes are integers from 0 on"),
        (
            lambda _: directions(MODELS["TarFlow"]().build(), RANDOM * torch.nan, torch.arange(4)),
            "rows 0, 1, 2, 3 of the",
        ),
        (lambda f: directions(f, RANDOM.byte(), torch.arange(4)), "encode it by a codec"),
        (lambda f: edit(f, RANDOM, torch.zeros(31), 1.0), r"shape \(32,\); the direction has \(31,\)"),
        (lambda f: edit(f, RANDOM, torch.zeros(3, 32), 1.0), r"a row for each of 4 images; got directions \(3, 32\)"),
        (lambda f: edit(f, RANDOM, torch.zeros(32), torch.ones(3)), r"amounts \(3,\)"),
        (lambda f: interpolate(f, RANDOM, RANDOM[:2], 3), "pairs of images"),
        (lambda f: interpolate(f, RANDOM, RANDOM, 1), "got n=1"),
        (lambda f: inpaint(f, RANDOM, HALF, 0), "got steps=0"),
        (lambda f: inpaint(f, RANDOM, ~HALF, 1), "no pixel is missing"),
        (lambda f: inpaint(f, RANDOM.long(), HALF, 1), "real events; x is torch.int64"),
        (
            lambda f: inpaint(f, RANDOM, HALF[:3], 1),
            r"broadcasts to \(4, 2, 4, 4\); got torch.bool of shape \(3,\)",
        ),
        (lambda f: inpaint(f, RANDOM, torch.ones(4), 1), "got torch.float32"),
        (lambda f: inpaint(f, RANDOM + 9, HALF, 1), "is not finite, for rows 0, 1, 2, 3 of the images"),
        (lambda _: Langevin(0.0), "scale is a finite number above 0; got 0"),
    ],
)
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises((ValueError, FloatingPointError), match=message):
        call(MODELS["RealNVP"]().build())

"""What the models of vectors, and the transforms they are made of, owe beyond the laws."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

import pushforward as pf
from pushforward import conditions
from pushforward.bases import StandardNormal
from pushforward.codecs import CodedFlow, Identity, codec_of
from pushforward.evaluation import held_out_mean, importance
from pushforward.flow import Flow
from pushforward.models import IAF, MAF, NICE, NSF, CircularNSF, RealNVP, ResidualFlow
from pushforward.moves import Affine
from pushforward.networks import MLP, ContractiveMLP, MaskedMLP
from pushforward.networks.contractive import norm_bound
from pushforward.recipe import from_json, to_json
from pushforward.recipes import digits
from pushforward.transform import Inverse
from pushforward.transforms import (
    LU,
    ActNorm,
    Autoregressive,
    BatchNorm,
    Circle,
    Coupling,
    Exact,
    Integers,
    Interval,
    Matrix,
    Regression,
    Residual,
    Rotation,
    Roulette,
    alternating,
    checkerboard,
    columns,
    halves,
    scattered,
    whole_tokens,
    within_tokens,
)
from tests.toys import randomised

SMALL = {"hidden": (8, 8), "transforms": 2}
MODELS = {model.__name__: model for model in (NICE, RealNVP, MAF, IAF, NSF, ResidualFlow)}
AUTOREGRESSIVE_NSF = MODELS["autoregressive NSF"] = partial(NSF, autoregressive=True)
GIVEN = {"nothing": ({}, None), "a vector": ({"context": 2}, [0.5, -1.0]), "a label": ({"classes": 3}, 1)}


@pytest.fixture(params=[(model, given) for model in MODELS for given in GIVEN], ids=" given ".join)
def plane(request):
    """A small flow of two features, one positive, with random weights and units from data; and its context."""
    model, given = request.param
    options, context = GIVEN[given]
    config = MODELS[model](features=2, supports=(Interval(), Interval(0)), **options, **SMALL)
    flow = randomised(config.build().double())
    x = torch.randn(500, 2, dtype=torch.float64) * torch.tensor([3.0, 0.5]) + torch.tensor([5.0, -1.0])
    flow.initialize(torch.stack([x[:, 0], x[:, 1].exp()], 1), context)
    return flow, context


def test_densities_integrate_to_one(plane):
    flow, context = plane
    across, along = torch.linspace(-25, 35, 301, dtype=torch.float64), torch.linspace(-9, 7, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(across, along)  # the second number by its logarithm
    with torch.no_grad():
        log_p = flow.log_prob(torch.stack([grid[:, 0], grid[:, 1].exp()], 1), context) + grid[:, 1]
    cell = (across[1] - across[0]) * (along[1] - along[0])
    assert (log_p.exp().sum() * cell).item() == pytest.approx(1, abs=2e-3)
    assert flow.log_prob(torch.tensor([[5.0, -0.1]], dtype=torch.float64), context).item() == -torch.inf


def test_samples_and_their_log_probs_agree(plane):
    flow, context = plane
    x, log_p = flow.sample_and_log_prob(50, context)
    torch.testing.assert_close(log_p, flow.log_prob(x, context))
    assert (x[:, 1] > 0).all()


def test_what_is_saved_is_the_density(plane):
    flow, context = plane
    x = flow.sample(20, context)
    again = copy.deepcopy(flow)
    for tensor in again.state_dict().values():
        tensor.zero_()
    again.load_state_dict(flow.state_dict())
    assert torch.equal(again.eval().log_prob(x, context), flow.log_prob(x, context))


@pytest.mark.parametrize("given", GIVEN)
def test_densities_on_a_torus(given):
    """The second angle is in degrees. The cut is nowhere to be seen."""
    options, context = GIVEN[given]
    circles = (Circle(), Circle(0, 360))
    flow = randomised(CircularNSF(features=2, supports=circles, **options, **SMALL).build().double())
    around = torch.arange(200, dtype=torch.float64) / 200
    grid = torch.cartesian_prod(2 * torch.pi * around, 360 * around)
    near = torch.tensor([[-torch.pi - 1e-9, 90], [1e-9 - torch.pi, 90], [2, -1e-9], [2, 1e-9]], dtype=torch.float64)
    with torch.no_grad():
        log_p, cut = flow.log_prob(grid, context), flow.log_prob(near, context)
        again = flow.log_prob(grid + torch.tensor([2 * torch.pi, -720.0], dtype=torch.float64), context)
    assert (log_p.exp().mean() * 2 * torch.pi * 360).item() == pytest.approx(1, abs=1e-3)
    assert log_p.std() > 0.1
    torch.testing.assert_close(again, log_p)
    torch.testing.assert_close(cut[::2], cut[1::2], atol=1e-6, rtol=0)
    x, log_p = flow.sample_and_log_prob(50, context)
    torch.testing.assert_close(flow.log_prob(x, context), log_p)
    assert (x >= torch.tensor([-torch.pi, 0.0])).all()
    assert (x < torch.tensor([torch.pi, 360.0])).all()
    assert (flow.encode(x, context).abs() <= torch.pi).all()


@pytest.mark.parametrize("given", GIVEN)
def test_densities_on_a_cylinder(given):
    """A positive number, and an angle in degrees. The cut is nowhere to be seen."""
    options, context = GIVEN[given]
    supports = (Interval(0), Circle(0, 360))
    flow = randomised(CircularNSF(features=2, supports=supports, **options, **SMALL).build().double())
    log_x = 1 + 0.5 * torch.randn(500, dtype=torch.float64)
    flow.initialize(torch.stack([log_x.exp(), 360 * torch.rand_like(log_x)], 1), context)
    along = torch.linspace(-9, 11, 501, dtype=torch.float64)  # the first number by its logarithm
    grid = torch.cartesian_prod(along, 1.8 * torch.arange(200, dtype=torch.float64))
    places = torch.stack([grid[:, 0].exp(), grid[:, 1]], 1)
    with torch.no_grad():
        log_p = flow.log_prob(places, context)
        again = flow.log_prob(places + torch.tensor([0.0, 720.0], dtype=torch.float64), context)
        cut = flow.log_prob(torch.tensor([[2, 1e-9], [2, 360 - 1e-9]], dtype=torch.float64), context)
    mass = (log_p + grid[:, 0]).exp().sum() * (along[1] - along[0]) * 1.8
    assert mass.item() == pytest.approx(1, abs=2e-3)
    torch.testing.assert_close(again, log_p)
    torch.testing.assert_close(cut[0], cut[1], atol=1e-6, rtol=0)
    x, log_p = flow.sample_and_log_prob(50, context)
    torch.testing.assert_close(flow.log_prob(x, context), log_p)
    assert (x[:, 0] > 0).all()
    assert ((x[:, 1] >= 0) & (x[:, 1] < 360)).all()
    z = flow.encode(x, context)
    assert (z[:, 0].abs() <= torch.pi).all(), "angles come first, and end as angles"


def test_integers_have_probabilities_that_add_up_to_one():
    """P(v) is the integral over the bin of v, which the bound tends to."""
    flow = randomised(AUTOREGRESSIVE_NSF(features=1, context=2, supports=(Integers(-1, 2),), **SMALL).build().double())
    context, codec = torch.tensor([0.5, -1.0], dtype=torch.float64), codec_of(flow)
    edges = torch.linspace(-1, 3, 4001, dtype=torch.float64)
    with torch.no_grad():
        exact = flow.log_prob((edges[1:] + edges[:-1])[:, None] / 2, context).exp().reshape(4, 1000).mean(1)
        found = CodedFlow(flow, codec).bound(torch.arange(-1.0, 3)[:, None].double(), context, samples=1000).exp()
    assert exact.sum().item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(found, exact, atol=0.01, rtol=0)
    assert codec.decode(flow.sample(500, context)).unique().tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize("name", MODELS)
def test_untrained_flows_change_nothing_but_units(name):
    x = 100 + 7 * torch.randn(200, 4)
    flow = MODELS[name](features=4, **SMALL).build()
    for part in flow.modules():
        if isinstance(part, Residual):  # whose last weights start at random
            torch.nn.init.zeros_(part.net.maps[-1].weight)
            torch.nn.init.zeros_(part.net.maps[-1].bias)
        if name == "MAF" and isinstance(part, MaskedMLP):  # likewise
            torch.nn.init.zeros_(part.layers.answer.weight)
            torch.nn.init.zeros_(part.layers.answer.bias)
    flow.initialize(x)
    z = flow.encode(x)
    assert torch.allclose(z.mean(0), torch.zeros(4), atol=1e-4)
    assert torch.allclose(z.std(0, correction=0), torch.ones(4), atol=1e-4)


@pytest.mark.parametrize("model", [*MODELS.values(), CircularNSF])
def test_configurations_are_saved_and_come_back(model):
    supports = (Interval(), Interval(0, 1), Circle(0, 360) if model is CircularNSF else Integers(0))
    made = replace(digits(), model=model(features=3, context=2, supports=supports))
    assert from_json(to_json(made), "here").model == made.model


@pytest.mark.filterwarnings("ignore:a (MAF|IAF) of one feature")
def test_one_feature():
    """Autoregressive steps move one feature by the context alone; a coupling has nothing to keep."""
    context = torch.randn(5, 2)
    for model in (MAF, IAF, AUTOREGRESSIVE_NSF):
        flow = randomised(model(features=1, context=2, **SMALL).build())
        assert len(flow.log_prob(torch.zeros(5, 1), context).unique()) == 5
    with pytest.raises(ValueError, match="keeps 1 and moves 0"):
        RealNVP(features=1).build()


@pytest.mark.parametrize(
    "wrong",
    [{"features": 0}, {"context": 2, "classes": 3}, {"supports": (Interval(),)}, {"supports": (Circle(),) * 3}],
    ids=str,
)
def test_configurations_that_are_refused(wrong):
    with pytest.raises(ValueError, match=r"features=|support for each of 3|3 of 3 .* CircularNSF takes both"):
        MAF(**{"features": 3} | wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "support", [Interval(0), Interval(None, 3), Interval(-1, 1), Interval(), Circle(0, 360)], ids=str
)
def test_far_from_zero_values_lie_in_the_support_and_have_finite_gradients(support, dtype):
    z = torch.tensor([-1e9, -800, -90, -20, 0, 20, 90, 800, 1e9], dtype=dtype).requires_grad_()
    x, log_slopes = support.from_line(z)
    assert support.constraint.check(x).all()
    assert x.isfinite().all()
    assert torch.autograd.grad(x.sum() + log_slopes.sum(), z)[0].isfinite().all()
    assert torch.stack(support.to_line(x)).isfinite().all()


@pytest.mark.parametrize("kind", [Interval, Circle, Integers])
def test_supports_that_are_refused(kind):
    with pytest.raises(ValueError, match=r"the low end of .*; got 2"):
        kind(2, 1)
    with pytest.raises(ValueError, match="high.*; got inf"):
        kind(0, math.inf)


def test_every_actnorm_is_measured_on_what_reaches_it_and_only_when_asked():
    flow = randomised(RealNVP(features=4, **SMALL).build().double())
    x = torch.randn(100, 4, dtype=torch.float64).exp()
    flow.initialize(x)
    norms = [step for step in flow.trace(x) if isinstance(step.transform, ActNorm)]
    assert len(norms) == 3
    for norm in norms:
        torch.testing.assert_close(norm.z.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-10, rtol=0)
        torch.testing.assert_close(norm.z.std(0, correction=0), torch.ones(4, dtype=torch.float64))
    before = copy.deepcopy(flow.state_dict())
    for mode in (True, False):
        flow.train(mode).log_prob(10 + x)
    assert all(torch.equal(before[name], value) for name, value in flow.state_dict().items())


@pytest.mark.parametrize("x", [torch.tensor([[3.0, 0.1]]), torch.full((1000, 2), 0.1)], ids=["one row", "constant"])
def test_what_does_not_vary_is_centred_and_not_scaled(x):
    norm = ActNorm(2)
    norm.initialize_from(x)
    z, log_det = norm(x)
    assert torch.equal(z, torch.zeros_like(x))
    assert torch.equal(log_det, torch.zeros(len(x)))


def test_units_may_be_of_any_size():
    x = torch.randn(1000, 3) * torch.tensor([1e-9, 1.0, 1e6]) + torch.tensor([0.0, 1e4, -1e8])
    flow = MAF(features=3, **SMALL).build()
    flow.initialize(x)
    z = flow.encode(x)
    torch.testing.assert_close(z.std(0), torch.ones(3), atol=1e-2, rtol=0)
    assert flow.log_prob(x).isfinite().all()


def test_units_of_a_context_are_measured_too():
    flow = randomised(MAF(features=3, context=2, **SMALL).build())
    x, context = torch.randn(100, 3), 1e6 + 1e-3 * torch.randn(100, 2, dtype=torch.float64)
    ready = conditions.drop(flow.context(context), torch.arange(100) < 10)
    flow.initialize(x, ready)
    units = flow.transform[1].net.layers.context_encoder.units
    torch.testing.assert_close(units.shift, context[10:].mean(0))  # in float64: float32 does not hold these
    torch.testing.assert_close(units.log_scale.exp(), context[10:].std(0, correction=0).float())
    flow.initialize(x, conditions.drop(ready, torch.ones(100, dtype=torch.bool)))
    torch.testing.assert_close(units.shift, context[10:].mean(0))  # nothing to measure


def linear_gaussian(rows: int, conditions: int, features: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Conditions, features that follow the first of them, and the features' true log-density."""
    source = torch.Generator().manual_seed(rows)
    u, noise = (torch.randn(rows, n, generator=source, dtype=torch.float64) for n in (conditions, features))
    x = 5 + 3 * u[:, :1] + torch.tensor([0.01, 0.5, 2.0]) * noise
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(1) - math.log(0.01 * 0.5 * 2.0)
    return x, 1e3 * u - 7, log_p


def test_an_untrained_spline_flow_is_the_regression_of_its_data():
    x, context, log_p = linear_gaussian(5000, 4)
    flow = NSF(features=3, context=4, **SMALL).build()
    flow.initialize(x[:4000], context[:4000])
    z = flow.encode(x[:4000], context[:4000])
    torch.testing.assert_close(z.std(0), torch.ones(3), atol=5e-3, rtol=0, check_dtype=False)
    assert (log_p - flow.log_prob(x, context))[4000:].mean() < 0.02


@pytest.mark.parametrize("rows", [2, 20, 60], ids="{} rows".format)
def test_a_regression_on_more_conditions_than_rows_does_no_harm(rows):
    x, context, _ = linear_gaussian(500, 50)
    noise = torch.randn(context.shape, generator=torch.Generator().manual_seed(1))
    scores = []
    for regression in (False, True):
        flow = NSF(features=3, context=50, regression=regression, **SMALL).build()
        flow.initialize(x[:rows], noise[:rows])
        scores.append(flow.log_prob(x, noise)[100:].mean().item())
    assert scores[1] > scores[0] - 0.5


def test_a_regression_is_of_the_rows_whose_condition_is_known_and_serves_them_alone():
    x, context, _ = linear_gaussian(300, 2)
    known = torch.arange(300) < 200
    step = Regression(3, 2)
    flow = Flow(step, StandardNormal(3), event=(3,), conditions={"vector": conditions.Vector(2)})
    x[~known] = 1e6
    flow.initialize(x - x[known].mean(0), conditions.drop(flow.context(context), ~known))
    assert (step.weight[:, 0] > 2.9).all()
    nothing = conditions.drop(flow.context(context), known | ~known)
    torch.testing.assert_close(flow.encode(x, nothing), x / step.log_scale.exp(), check_dtype=False)


def test_initialise_says_what_it_could_not_reach():
    flow = Flow(Inverse(ActNorm(2)), StandardNormal(2), event=(2,))
    with pytest.raises(ValueError, match="no data reached ActNorm"):
        flow.initialize(torch.randn(5, 2))
    assert not flow.transform.transform._forward_pre_hooks


def test_batch_norm_normalises_its_batch_in_training_and_goes_by_what_was_measured_else():
    norm, x = BatchNorm(3).double(), 4 + 2 * torch.randn(50, 3, dtype=torch.float64)
    z, log_det = norm(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(log_det[0], -0.5 * torch.log(x.var(0, correction=0) + 1e-5).sum())
    assert torch.equal(norm.eval()(x)[0], x)
    norm.initialize_from(x)
    torch.testing.assert_close(norm(x[:7])[0], z[:7])
    assert norm.train()(x[:1])[0].isfinite().all()


def test_the_doors_of_an_iaf_are_a_maf_s_exchanged():
    maf, iaf = (model(features=4, **SMALL).build() for model in (MAF, IAF))
    weights = [p for name, p in maf.named_parameters() if "net" in name]
    for ours, theirs in zip(iaf.parameters(), weights, strict=True):
        theirs.data = ours.data.normal_(std=0.1)
    x = torch.randn(9, 4)
    for ours, theirs in zip(iaf.transform, maf.transform, strict=True):
        if isinstance(ours, Inverse):
            assert all(torch.equal(a, b) for a, b in zip(ours.inverse(x), theirs(x), strict=True))
            assert all(torch.equal(a, b) for a, b in zip(ours(x), theirs.inverse(x), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: checkerboard((1, 4, 5)),
        lambda: columns((1, 4, 5)),
        lambda: within_tokens(4, 3, seed=0),
        lambda: whole_tokens(torch.tensor([True, False, False]), 2),
    ],
)
def test_what_has_no_half_is_not_halved(make):
    with pytest.raises(ValueError, match=r"half|halves.*got"):
        make()


@pytest.mark.parametrize("split", [halves, alternating, lambda n, **options: scattered(n, 3, **options)])
def test_a_coupling_leaves_alone_what_it_keeps_and_two_of_them_move_all(split):
    x, moved = torch.randn(20, 5), []
    for swapped in (False, True):
        where = split(5, swapped=swapped)
        step = Coupling(MLP(where.kept, (where.moved, 2), hidden=(8,)), Affine(), where)
        torch.nn.init.normal_(step.net.layers.answer.weight)
        moved.append((step(x)[0] != x).all(0))
        assert torch.equal(moved[-1], (step(x)[0] != x).any(0))
        assert moved[-1].sum() == where.moved
    assert torch.equal(moved[0], ~moved[1])


def test_a_coupling_is_a_masked_step_whose_graph_says_so():
    graph = torch.zeros(4, 4, dtype=torch.bool)
    graph[2:, :2] = True
    step = Autoregressive(MaskedMLP(4, (2,), graph=graph), Affine())
    torch.nn.init.normal_(step.net.layers.answer.weight)
    jacobian = torch.autograd.functional.jacobian(lambda t: step(t)[0].sum(0), torch.randn(5, 4)).sum(1)
    assert torch.equal(jacobian != 0, graph | torch.eye(4, dtype=torch.bool))


def test_a_rotation_keeps_lengths_and_angles():
    rotation = Rotation(6).double().matrix()
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (128, 128), (40, 3)])
def test_the_bound_of_a_norm_is_above_it_and_near(shape):
    for weight in (torch.randn(shape), torch.ones(shape), 1e-12 * torch.randn(shape), torch.eye(*shape)):
        norm, bound = torch.linalg.matrix_norm(weight.double(), 2).item(), norm_bound(weight.double()).item()
        assert norm * (1 - 1e-9) <= bound <= norm * min(shape) ** (1 / 64) * (1 + 1e-9)


def test_a_contraction_contracts_whatever_its_weights():
    net = ContractiveMLP(4, hidden=(32, 32), limit=0.8).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=10.0)
    x, y = torch.randn(2, 500, 4, dtype=torch.float64)
    assert ((net(x) - net(y)).norm(dim=1) <= 0.8 * (x - y).norm(dim=1)).all()
    torch.nn.init.zeros_(net.maps[-1].weight)
    net(x).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_the_roulette_is_unbiased():
    net = ContractiveMLP(3, hidden=(16,)).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 3, dtype=torch.float64).expand(50, 3)
    exact = Residual(net)(x)[1][0]
    with torch.no_grad():
        draws = [Residual(net, log_det=Roulette(always=1, seed=seed))(x)[1].mean() for seed in range(400)]
    draws = torch.stack(draws)
    assert (draws.mean() - exact).abs() < 3 * draws.std() / len(draws) ** 0.5
    assert draws.std() > 0


@pytest.mark.parametrize("linear", [LU(6), LU(6, seed=0), Rotation(6), Matrix(torch.eye(6))], ids=repr)
def test_a_linear_map_is_its_matrix(linear):
    torch.nn.init.normal_(next(linear.double().parameters()), std=0.3)
    x = torch.randn(5, 6, dtype=torch.float64)
    torch.testing.assert_close(linear(x)[0], x @ linear.matrix().T)


def test_a_flow_knows_whether_its_densities_are_exact():
    flow = ResidualFlow(features=3, log_det=Roulette(seed=0), **SMALL).build()
    x = torch.randn(20, 3)
    assert not flow.exact
    assert "log-det, an estimate, within" in str(flow.check(x))
    with pytest.raises(ValueError, match="samples=2 the noise of estimated log-dets"):
        CodedFlow(flow, Identity()).bound(x, samples=2)
    with pytest.raises(ValueError, match="weights need exact log-dets"):
        importance(flow, lambda x: x[:, 0])
    assert "nats (log-dets estimated; mean ± s.e. over 20 events)" in str(held_out_mean(CodedFlow(flow, Identity()), x))
    assert "held-out log p, log-dets estimated: " in str(pf.fit(flow, x, steps=2))
    for step in flow.modules():
        if isinstance(step, Residual):
            step.log_det = Exact()
    assert flow.exact
    assert "nats (mean ± s.e. over 20 events)" in str(held_out_mean(CodedFlow(flow, Identity()), x))

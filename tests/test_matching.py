"""Flow matching: paths, couplings, the velocity that regression learns, and reflow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import pushforward as pf
from benchmarks.matching import moons
from pushforward.bases import StandardNormal
from pushforward.codecs import Identity, TrainedAutoencoder, UniformDequantization
from pushforward.conditions import Label, Vector, read
from pushforward.data import Arrays
from pushforward.networks import FlowMapNet, UNetOptions
from pushforward.objectives import (
    General,
    Independent,
    Linear,
    MapRegression,
    Matching,
    MeanFlow,
    MinibatchOT,
    Reflowed,
    SelfDistillation,
    SemidiscreteOT,
    TrainedFlow,
    VariancePreserving,
    VelocityRegression,
)
from pushforward.objectives.couplings import Everything, Pairs, assignment, partner
from pushforward.randomness import Source, keyed
from pushforward.solve import Euler, Jumps
from pushforward.training import Plan, minimise
from pushforward.transforms import Continuous

PATHS = [Linear(), VariancePreserving(), General(lambda t: t**2, lambda t: (1 - t) ** 3)]


def pairs(noise: Tensor, data: Tensor, labels: Tensor | None = None) -> Pairs:
    return Pairs(noise, data, data, {} if labels is None else read({"label": Label(4)}, labels))


def everything(noise: Tensor, data: Tensor, labels: Tensor | None = None) -> Everything:
    def rows(rows: Tensor | None = None, generator: Source = None) -> Pairs:  # noqa: ARG001
        chosen = torch.arange(len(data)) if rows is None else rows
        return pairs(noise[chosen], data[chosen], None if labels is None else labels[chosen])

    return rows


@pytest.mark.parametrize("path", PATHS)
def test_a_path_goes_from_noise_to_data_with_its_velocity(path):
    z, x = torch.randn(2, 5, 3, dtype=torch.float64)
    zero, one = torch.zeros(5).double(), torch.ones(5).double()
    torch.testing.assert_close(path.point(zero, z, x)[0], z)
    torch.testing.assert_close(path.point(one, z, x)[0], x)
    t, h = torch.linspace(0.1, 0.9, 5).double(), 1e-5
    difference = (path.point(t + h, z, x)[0] - path.point(t - h, z, x)[0]) / (2 * h)
    torch.testing.assert_close(path.point(t, z, x)[1], difference, atol=1e-8, rtol=1e-8)


def test_the_variance_is_preserved_and_other_ends_are_refused():
    found = VariancePreserving().coefficients(torch.linspace(0, 1, 9))
    torch.testing.assert_close(found.data.square() + found.noise.square(), torch.ones(9))
    with pytest.raises(ValueError, match=r"a\(0\) = b\(1\) = 0"):
        General(lambda t: t, lambda t: 1 - 0.9 * t)


def test_a_minibatch_is_assigned_at_the_least_cost_and_keeps_its_rows():
    pytest.importorskip("scipy", reason="SciPy is not installed")
    given = pairs(*torch.randn(2, 6, 2))
    found = MinibatchOT().pair(given)
    assert torch.equal(found.data, given.data)
    assert torch.equal(found.noise.sort(0).values, given.noise.sort(0).values)
    cost = (found.noise - found.data).square().sum()
    for _ in range(200):
        assert cost <= (given.noise[torch.randperm(6)] - given.data).square().sum() + 1e-5


@pytest.mark.parametrize("coupling", [MinibatchOT(), SemidiscreteOT(steps=300, batch=512)])
def test_optimal_transport_within_classes_leaves_labels_independent_of_noise(coupling):
    """Two classes apart: transport across them would give one the noise on the left and the other that on the right."""
    pytest.importorskip("scipy", reason="SciPy is not installed")
    labels = torch.arange(512) % 2
    data = torch.randn(512, 2, generator=keyed(0)) + 4 * (2 * labels[:, None] - 1)
    learned = coupling.learn(everything(torch.empty(512, 2), data, labels))
    noise = torch.randn(512, 2, generator=keyed(1))
    found = learned.pair(pairs(noise, data, labels))
    assert torch.equal(found.context["label"].value, labels)
    for value in (0, 1):
        mine = found.noise[labels == value]
        assert (mine.mean(0).abs() < 4 / math.sqrt(256)).all()
        assert (mine.std(0) - 1).abs().max() < 4 / math.sqrt(512)
        assert ((found.data[labels == value] > 0).all(1) == bool(value)).float().mean() > 0.99
    across = pairs(noise, data)
    apart = coupling.learn(everything(noise, data)).pair(across)
    separated = apart.noise[(apart.data > 0).all(1)].mean(0) - apart.noise[(apart.data < 0).all(1)].mean(0)
    assert (separated > 0.5).all(), "without labels the same coupling does separate them"


def test_a_minibatch_given_vectors_is_left_as_it_is():
    given = Pairs(*torch.randn(3, 6, 2), read({"vector": Vector(1)}, torch.randn(6, 1)))
    pytest.importorskip("scipy", reason="SciPy is not installed")
    assert torch.equal(MinibatchOT().pair(given).noise, given.noise)
    with pytest.raises(ValueError, match="conditions of real numbers"):
        SemidiscreteOT().learn(lambda *_: given)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 1}, {"rate": math.nan}], ids=str)
def test_potentials_need_steps(wrong):
    with pytest.raises(ValueError, match="is a finite number"):
        SemidiscreteOT(**wrong)


def test_no_rows_are_paired_as_no_rows():
    none = torch.empty(0, 2)
    assert MinibatchOT().pair(Pairs(none, none, none, {})).noise.shape == (0, 2)


def test_semidiscrete_transport_of_512_points_costs_what_the_hungarian_assignment_does():
    """Of 1,024 points of noise, two to a row of the data, so that the assignment is the same problem."""
    pytest.importorskip("scipy", reason="SciPy is not installed")
    angle = 2 * math.pi * torch.rand(512, generator=keyed(0))
    data = torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(512, 2, generator=keyed(1))
    noise = torch.randn(1024, 2, generator=keyed(2))

    def drawn(m: int, generator: torch.Generator) -> Tensor:
        return noise[torch.randint(0, 1024, (m,), generator=generator)]

    potentials, _ = SemidiscreteOT(steps=600, batch=1024).potentials(data, drawn)
    cost = (noise - data[partner(noise, data, potentials)]).square().sum(1).mean()
    twice = data.repeat(2, 1)
    least = (noise[assignment(noise, twice)] - twice).square().sum(1).mean()
    assert cost.item() == pytest.approx(least.item(), rel=0.02)


def test_semidiscrete_shares_are_equal_up_to_chi2():
    data = 0.5 * torch.randn(64, 3, generator=keyed(0)) + 1
    learned = SemidiscreteOT(steps=500, batch=512).learn(everything(torch.empty(64, 3), data))
    assert abs(learned.chi2) < 1e-2
    kept = [t for field in vars(learned).values() for t in (field if isinstance(field, tuple) else (field,))]
    assert sum(t.numel() for t in kept if isinstance(t, Tensor)) < 2 * data.numel(), "noise and events are not kept"
    noise = torch.randn(64_000, 3, generator=keyed(1))
    found = learned.pair(pairs(noise, data[:1].expand(64_000, 3)))
    assert torch.equal(found.noise, noise)
    shares = torch.cdist(found.data, data).argmin(1).bincount(minlength=64) / 1000
    assert shares.sub(1).square().mean().item() == pytest.approx(learned.chi2, abs=0.01)


def test_semidiscrete_pairs_have_fresh_noise_of_the_codec():
    """Else the density of integers would be that of one draw of their noise."""
    flow, codec = pf.models.FlowMatching(features=3, hidden=(8,)).build(), UniformDequantization(9)
    objective = VelocityRegression(flow, codec, Matching(coupling=SemidiscreteOT(steps=20, batch=64)))
    data = Arrays(torch.randint(9, (20, 3), generator=keyed(0)))
    objective.check(data)
    given = objective.pairs(*data.fetch(range(20)), keyed(1))
    one, two = (objective.coupling.pair(given, keyed(seed)) for seed in (2, 3))
    assert torch.equal(one.noise, two.noise)
    assert not torch.equal(one.events, two.events)
    assert torch.equal(codec.decode(one.events), codec.decode(two.events))


def test_a_trained_flow_pairs_data_with_its_latents():
    flow = pf.models.MAF(features=2, hidden=(8,), transforms=2).build()
    given = pairs(*torch.randn(2, 5, 2))
    found = TrainedFlow(flow).pair(given)
    torch.testing.assert_close(found.noise, flow.encode(given.data).detach())
    assert torch.equal(found.data, given.data)
    with pytest.raises(ValueError, match="latents, 2"):
        TrainedFlow(flow).pair(Pairs(torch.randn(5, 3), torch.randn(5, 3), given.data, {}))
    with pytest.raises(ValueError, match="standard normal"):
        TrainedFlow(pf.models.NICE(features=2).build())


def test_the_velocity_of_two_gaussians():
    """N(0, 1) to N(m, 1): v(x, t) = m + (2t − 1) / (t² + (1 − t)²) · (x − t m), and E|dx/dt − v|² = π / 2."""
    mean = 2.0
    flow = pf.models.FlowMatching(features=1, hidden=(32, 32)).build()
    objective = VelocityRegression(flow, Identity(), Matching())
    data = Arrays(mean + torch.randn(4000, 1))
    trained = minimise(objective, data, Plan(steps=800, batch=256, lr=5e-3, precision="float32"))
    units, continuous = trained.transform
    t, u = torch.linspace(0.05, 0.95, 7).repeat(5), torch.linspace(-1, 1, 5).repeat_interleave(7)
    shift = units(torch.tensor([[mean]]))[0].item()  # of the mean, in units
    exact = shift + (2 * t - 1) / (t**2 + (1 - t) ** 2) * u
    with torch.no_grad():
        found = continuous.net((t * shift + u)[:, None], t)[:, 0]
    assert (found - exact).abs().mean() < 0.15
    losses = [objective(data.events, generator=keyed(i))[0].item() for i in range(5)]
    assert sum(losses) / 5 == pytest.approx(math.pi / 2, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps"), [("FlowMatching", 1500), ("OTFlowMatching", 300), ("RectifiedFlow", 1500), ("FlowMap", 1500)]
)
def test_fit_trains_each_by_its_own_objective(name, steps):
    """The density itself has a mean of −1.03; an untrained flow, in the data's units, −1.9."""
    if name == "OTFlowMatching":
        pytest.importorskip("scipy", reason="SciPy is not installed")
    torch.manual_seed(0)
    flow = getattr(pf.models, name)(features=2, hidden=(64, 64)).build()
    fitted = pf.fit(
        flow,
        moons(3000, 0),
        steps=steps,
        batch=512 if steps == 1500 else 128,
        lr=1e-2,
        measure_every=steps // 2,
        patience=2,
    )
    assert flow.exact
    assert fitted.score > (-1.3 if steps == 1500 else -1.6)


@pytest.mark.parametrize("name", ["FlowMatching", "OTFlowMatching", "RectifiedFlow", "FlowMap"])
def test_an_image_twin_of_each_trains_and_is_guided(name):
    """Rows of one grey, dark or bright by the class: the loss falls, and guided samples are of their class."""
    if name == "OTFlowMatching":
        pytest.importorskip("scipy", reason="SciPy is not installed")
    torch.manual_seed(0)
    labels = torch.arange(64) % 2
    images = (2.0 * labels - 1)[:, None, None, None] + 0.3 * torch.randn(64, 1, 4, 4)
    net = UNetOptions(width=8, levels=2, blocks=1)
    flow = getattr(pf.models, name)(image=(1, 4, 4), classes=2, net=net).build()
    objective = flow.objective.build(flow, Identity())
    before = objective(images, labels, keyed(0))[0].item()
    plan = Plan(steps=40, batch=64, lr=2e-2, warmup=5, average_decay=0.9, precision="float32")
    flow = minimise(objective, Arrays(images, labels), plan)
    assert objective(images, labels, keyed(0))[0] < 0.7 * before
    sampled = [flow.guided(0.5).solved_by(Euler(4))] + [flow.solved_by(Jumps(1))] * (name == "FlowMap")
    for few in sampled:
        means = few.sample((), labels, generator=keyed(0)).mean((1, 2, 3))
        assert means[labels == 1].mean() > means[labels == 0].mean() + 1


def test_reflow_straightens_trajectories_so_that_one_step_serves():
    """After a round on its own pairs, a step of Euler's method ends nearer to the end of the trajectory."""
    torch.manual_seed(0)
    flow = pf.models.RectifiedFlow(features=2, hidden=(32, 32)).build()
    config, data, errors = Matching(reflows=1), Arrays(moons(2000, 0)), []
    plan = Plan(steps=400, batch=256, lr=5e-3, precision="float32")
    objective = VelocityRegression(flow, Identity(), config)
    while objective:
        flow.load_state_dict(minimise(objective, data, plan).state_dict())
        z = torch.randn(500, 2, generator=keyed(0))
        with torch.no_grad():
            errors.append((flow.decode(z) - flow.decode(z, solve=Euler(steps=1))).square().mean().item())
        objective = objective.following()
    assert len(errors) == 2
    assert errors[1] < 0.5 * errors[0]


def test_the_next_round_has_the_same_objective_on_straight_lines():
    """Else a flow map would no longer follow the velocity that the second round changes."""
    config = SelfDistillation(path=VariancePreserving(), reflows=2, condition_dropout=0.1)
    objective = MapRegression(pf.models.FlowMap(features=2, hidden=(8,)).build(), config=config)
    following = objective.following()
    assert type(following) is MapRegression
    expected = SelfDistillation(coupling=following.config.coupling, reflows=1, condition_dropout=0.1)
    assert following.config == expected
    assert following.rounds == 2
    assert following.following().following() is None


def test_reflow_keeps_conditions_with_their_pairs():
    flow = pf.models.RectifiedFlow(features=2, classes=3, hidden=(8,)).build()
    labels = torch.arange(7) % 3
    given = Pairs(*torch.randn(3, 7, 2), read({"label": Label(3)}, labels))
    learned = Reflowed(flow, count=20, batch=6).learn(lambda *_: given)
    assert len(learned.pairs.noise) == 20
    assert learned.pairs.context["label"].value.tolist() == [i % 7 % 3 for i in range(20)]
    again = learned.pair(given, keyed(0))
    places = torch.cdist(again.noise, learned.pairs.noise).argmin(1)
    assert torch.equal(again.data, learned.pairs.data[places])
    assert torch.equal(again.context["label"].value, learned.pairs.context["label"].value[places])


def test_other_flows_are_refused():
    with pytest.raises(ValueError, match="whose last transform, and no other, is Continuous"):
        VelocityRegression(pf.models.MAF(features=2).build(), Identity(), Matching(coupling=Independent()))


def test_a_codec_that_would_not_learn_is_refused():
    codec = TrainedAutoencoder(image=(1, 2, 4), latent=1, width=4).build()
    with pytest.raises(ValueError, match="trains the flow alone, and the VariationalAutoencoder has weights"):
        VelocityRegression(pf.models.FlowMatching(features=2, hidden=(8,)).build(), codec)


class LinearMap(FlowMapNet):
    """dx/dt = A x, whose flow map is x -> exp(A (t − s)) x."""

    def __init__(self):
        nn.Module.__init__(self)
        self.matrix = nn.Parameter(torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64))

    def forward(self, x, t, context=None):
        return x @ self.matrix.T

    def with_divergence(self, x, t, context=None):
        return None

    def jump(self, x, start, stop, context=None):
        return self.jumped(x, self(x, start), start, stop)

    def jumped(self, x, velocity, start, stop, context=None):
        return (torch.matrix_exp((stop - start)[:, None, None] * self.matrix) @ x[..., None])[..., 0]

    def average(self, x, velocity, start, stop, context=None):
        return (self.jumped(x, velocity, start, stop) - x) / (stop - start)[:, None]


def linear_flow() -> pf.Flow:
    return pf.Flow(pf.Chain(Continuous(LinearMap())), StandardNormal(2), event=(2,)).double()


def test_jumps_of_a_flow_map_compose_and_end_where_its_trajectories_do():
    flow, z = linear_flow(), torch.randn(5, 2, dtype=torch.float64)
    for steps in (1, 2, 5):
        torch.testing.assert_close(flow.decode(z, solve=Jumps(steps)), flow.decode(z), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(flow.decode(z, solve=Jumps(3)), flow.decode(z, solve=Jumps(1)))
    net, (s, t, u) = flow.transform[0].net, torch.rand(3, 5, dtype=torch.float64)
    torch.testing.assert_close(net.jump(net.jump(z, s, t), t, u), net.jump(z, s, u))
    for steps in (4, 64):  # whose map is learned, and gives no log-det
        with pytest.raises(ValueError, match="evaluates the velocity 0 times, too few for a log-det"):
            flow.solved_by(Jumps(steps)).log_prob(z)
    with pytest.raises(ValueError, match="a flow map that the network has learned"):
        pf.models.FlowMatching(features=2).build().sample(3, solve=Jumps(1))


@pytest.mark.parametrize("config", [SelfDistillation(), MeanFlow()])
def test_the_error_of_an_exact_flow_map_is_zero_and_of_another_is_not(config):
    """And the velocity gets no gradient of it."""
    objective = MapRegression(linear_flow(), config=config)
    given = pairs(*torch.randn(2, 64, 2, dtype=torch.float64))
    start = torch.linspace(0, 0.9, 64, dtype=torch.float64)
    assert objective.map_error(given, start, torch.ones_like(start)).max() < 1e-20
    flow = pf.models.FlowMap(features=2, hidden=(8,), objective=config).build().double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(std=0.5)
    error = flow.objective.build(flow, Identity()).map_error(given, start, torch.ones_like(start))
    assert error.min() > 1e-6
    error.sum().backward()
    net = flow.transform[-1].net
    assert all(p.grad is None for p in net.velocity.parameters())
    assert all(p.grad.abs().sum() > 0 for p in net.correction.parameters())
    with pytest.raises(ValueError, match="is a FlowMapNet"):
        MapRegression(pf.models.FlowMatching(features=2).build())


def test_the_target_of_mean_flow_has_no_gradient():
    """Its gradient is that of u alone: 2 (u − target) ∂u, where the target is a number."""
    flow = pf.models.FlowMap(features=2, hidden=(8,), objective=MeanFlow()).build().double()
    net, config, (x, s) = flow.transform[-1].net, MeanFlow(), (torch.randn(7, 2).double(), torch.rand(7).double() / 2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.5)
    error, weights = config.error(net, x, s, s + 0.3), list(net.correction.parameters())
    average = net.average(x, net(x, s).detach(), s, s + 0.3)
    found = torch.autograd.grad(error.square().sum(), weights)
    expected = torch.autograd.grad((2 * error.detach() * average).sum(), weights)
    torch.testing.assert_close(found, expected)


def test_a_flow_map_starts_along_its_velocity():
    """The derivative of X(x; s, t) by t at t = s is v(x, s), whatever the correction."""
    net = pf.models.FlowMap(features=2, hidden=(8,)).build().double().transform[-1].net
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    x, s = torch.randn(5, 2, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    _, rate = torch.func.jvp(lambda t: net.jump(x, s, t), (s,), (torch.ones_like(s),))
    torch.testing.assert_close(rate, net(x, s))
    torch.testing.assert_close(net.jump(x, s, s), x)


def test_a_flow_map_learns_to_jump():
    """One jump ends nearer to the end of the trajectory than one step of Euler's method."""
    torch.manual_seed(0)
    flow = pf.models.FlowMap(features=2, hidden=(64, 64)).build()
    plan = Plan(steps=200, batch=256, lr=1e-2, precision="float32")
    flow = minimise(MapRegression(flow), Arrays(moons(2000, 0)), plan)
    z = torch.randn(500, 2, generator=keyed(0))
    with torch.no_grad():
        end = flow.decode(z)
        error = {solve: (flow.decode(z, solve=solve) - end).square().mean() for solve in (Euler(1), Jumps(1), Jumps(4))}
    assert error[Jumps(1)] < 0.3 * error[Euler(1)]
    assert error[Jumps(4)] < error[Jumps(1)]


def test_weights_are_those_of_the_error_and_refused_where_pairs_cannot_have_them():
    flow = pf.models.FlowMatching(features=2, hidden=(8,)).build()
    x, weights = torch.randn(8, 2), torch.tensor([0.0, 2.0]).repeat(4)
    objective = VelocityRegression(flow)
    errors = [objective(x, None, keyed(0), torch.eye(8)[i])[0] for i in range(8)]
    torch.testing.assert_close(objective(x, None, keyed(0), weights)[0], 2 * sum(errors[1::2]))
    for coupling in (MinibatchOT(), SemidiscreteOT()):  # the mass of a row is that of its noise
        with pytest.raises(ValueError, match=f"{type(coupling).__name__} gives every row as much noise"):
            VelocityRegression(flow, Identity(), Matching(coupling=coupling)).check(Arrays(x, weights=weights))

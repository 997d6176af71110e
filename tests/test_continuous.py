"""Continuous flows: solvers of differential equations, divergences, and what they owe beyond the laws."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from pushforward import Flow, Inverse, guidance, models
from pushforward.bases import StandardNormal
from pushforward.codecs import FrozenAutoencoder, Identity
from pushforward.conditions import Label, each, read
from pushforward.networks import LabelEmbedding, UNetOptions, Velocity, VelocityMLP, VelocityUNet, VelocityViT
from pushforward.objectives import Likelihood, PenalisedLikelihood
from pushforward.solve import (
    RK4,
    Bosh3,
    Dopri5,
    Euler,
    ExactDivergence,
    Heun,
    Hutchinson,
    Midpoint,
    Tsit5,
    jacobi,
)
from pushforward.solve.ode import combined, stages
from pushforward.solve.tableaux import BOSH3, DOPRI5, TSIT5
from pushforward.transforms import Continuous

ADAPTIVE = (Dopri5, Tsit5, Bosh3)


class Linear(Velocity):
    """v = A x."""

    def __init__(self, features: int = 3):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(features, features, generator=torch.Generator().manual_seed(0)).double())

    def forward(self, x, t, context=None):
        return x @ self.matrix.T


class Explosive(Velocity):
    """dx/dt = x²: from x at time 0 the solution ends at time 1 / x."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x, t, context=None):
        return self.scale * x.square()


def network(features: int = 3, hidden: tuple[int, ...] = (8, 8), size: float = 0.3, **options) -> VelocityMLP:
    torch.manual_seed(0)
    net = VelocityMLP(features, hidden=hidden, **options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=size)
    return net


def rows(n: int = 4, *event: int) -> torch.Tensor:
    return torch.randn(n, *(event or (3,)), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_a_linear_field_is_solved_to_its_tolerance(solver):
    """z = exp(−A) x, log|det dz/dx| = −tr A, and back."""
    net, x = Linear(), rows()
    flow = Continuous(net, solve=solver(rtol=1e-9, atol=1e-9))
    z, log_det = flow(x)
    torch.testing.assert_close(z, x @ torch.linalg.matrix_exp(-net.matrix).T, rtol=0, atol=1e-7)
    torch.testing.assert_close(log_det, -net.matrix.trace().expand(4), rtol=0, atol=1e-7)
    torch.testing.assert_close(flow.decode(z), x, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("solver", "order"), [(Euler, 1), (Midpoint, 2), (Heun, 2), (RK4, 4)])
def test_the_order_of_fixed_steps(solver, order):
    """Half the step divides the error by 2^order."""
    net, x = Linear(), rows()
    true = x @ torch.linalg.matrix_exp(-net.matrix).T
    errors = [(Continuous(net, solve=solver(steps)).encode(x) - true).abs().max().item() for steps in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_the_order_of_adaptive_methods_by_one_step():
    """The local error is of one order more, and the estimate sees it."""
    matrix, y = Linear().matrix.detach(), rows()
    for tableau in (BOSH3, DOPRI5, TSIT5):
        errors, estimates = [], []
        for size in (0.1, 0.05):
            h = torch.full((4,), size, dtype=torch.float64)
            end, slopes = stages(tableau, lambda _, y: y @ matrix.T, 0 * h, h, y, y @ matrix.T)
            errors.append((end - y @ torch.linalg.matrix_exp(size * matrix).T).norm().item())
            estimates.append((size * combined(tableau.error, slopes)).norm().item())
        assert math.log2(errors[0] / errors[1]) == pytest.approx(tableau.order + 1, abs=0.4)
        assert math.log2(estimates[0] / estimates[1]) == pytest.approx(tableau.order, abs=0.6)


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_a_row_takes_its_own_steps(solver):
    """A stiff neighbour changes neither the value nor the number of evaluations."""
    flow, x = Continuous(network(), solve=solver(rtol=1e-6, atol=1e-6)), rows(6)
    x[0] *= 30
    together = flow.integrate(x)
    assert len(set(together.evaluations.tolist())) > 1
    for i in range(6):
        alone = flow.integrate(x[i : i + 1])
        for one, many in zip(alone, together, strict=True):
            if one is not None:
                torch.testing.assert_close(one[0], many[i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [Dopri5(rtol=1e-4, atol=1e-4), RK4(16)])
def test_gradients_are_those_of_the_steps(solver):
    """The backward pass that takes steps again, and the graph of all of them: to rounding. And second derivatives."""
    flow, x = Continuous(network(), solve=solver), rows().requires_grad_()
    z, log_det = flow(x)
    value = (z.sin().sum() + log_det.sum(),)
    inputs = [x, *flow.parameters()]
    once = torch.autograd.grad(value, inputs, retain_graph=True)
    graph = torch.autograd.grad(value, inputs, create_graph=True)
    for one, other in zip(once, graph, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert torch.autograd.grad(graph[0].square().sum(), x)[0].isfinite().all()


def test_hutchinson_over_all_signs_is_the_trace():
    net, x, t = network(), rows(), torch.full((4,), 0.3, dtype=torch.float64)
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    estimate = Hutchinson(8)
    _, mean = estimate(net, x, t, None, signs.expand(4, 8, 3))
    _, exact = ExactDivergence()(net, x, t, None, None)
    torch.testing.assert_close(mean, exact)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_the_spread_of_hutchinsons_estimate(distribution):
    net, t = Linear(), torch.zeros(4000, dtype=torch.float64)
    x = rows(4000)
    estimate = Hutchinson(distribution=distribution)
    _, values = estimate(net, x, t, None, estimate.probes(x))
    symmetric = (net.matrix + net.matrix.T).detach() / 2
    of_one = 2 * symmetric.square().sum() - (distribution == "rademacher") * 2 * symmetric.diagonal().square().sum()
    assert values.mean().item() == pytest.approx(net.matrix.trace().item(), abs=4 * math.sqrt(of_one / 4000))
    assert values.var().item() == pytest.approx(of_one.item(), rel=0.15)


@pytest.mark.parametrize("frequency", [None, 2.0])
@pytest.mark.parametrize("hidden", [(8,), (8, 8)])
def test_the_closed_form_is_the_trace(hidden, frequency):
    net, x, t = network(hidden=hidden, frequency=frequency), rows(), torch.linspace(0, 1, 4, dtype=torch.float64)
    v, divergence = net.with_divergence(x, t)
    pushed, trace, norm = ExactDivergence(chunk=2).pushed(net, x, t, None, None)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x, t: net(x[None], t[None])[0]))(x, t)
    torch.testing.assert_close(v, pushed)
    torch.testing.assert_close(divergence, trace)
    torch.testing.assert_close(trace, jacobian.diagonal(dim1=1, dim2=2).sum(1))
    torch.testing.assert_close(norm, jacobian.square().sum((1, 2)))


def test_sines_learn_a_square_wave_in_fewer_steps():
    x, t = torch.linspace(-2, 2, 128)[:, None], torch.zeros(128)

    def error(frequency: float | None) -> float:
        torch.manual_seed(0)
        net = VelocityMLP(1, hidden=(32, 32), frequency=frequency)
        optimiser, loss = torch.optim.Adam(net.parameters(), lr=1e-2), torch.zeros(())
        for _ in range(100):
            loss = (net(x, t) - (8 * x).sin().sign()).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return loss.item()

    assert error(5.0) < error(None) / 3


def test_hooked_layers_are_called():
    net, x = network(), rows()
    calls = []
    for layer in net.maps:
        layer.register_forward_hook(lambda *_: calls.append(1))
    flow = Continuous(net, solve=RK4(16))
    flow(x)
    assert len(calls) >= 2 * 64
    torch.testing.assert_close(flow(x)[1], Continuous(network(), solve=RK4(16))(x)[1])


def test_the_kinetic_energy_of_a_constant_velocity():
    net = network(size=0.0)
    nn.init.constant_(net.answer.bias, 2.0)
    found = Continuous(net).integrate(rows(), jacobian=True)
    torch.testing.assert_close(found.kinetic, torch.full((4,), 4.0, dtype=torch.float64))
    torch.testing.assert_close(found.jacobian, torch.zeros(4, dtype=torch.float64))


def test_a_coarse_grid_has_no_density_but_has_samples():
    flow = models.FFJORD(features=2, hidden=(8,)).build().solved_by(Heun(8))
    with pytest.raises(ValueError, match="at least 64 evaluations"):
        flow.log_prob(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="at least 64 evaluations"):
        flow.sample_and_log_prob(3)
    assert flow.sample(3).shape == flow.encode(torch.zeros(3, 2)).shape
    assert flow.solved_by(Heun(32)).log_prob(torch.zeros(3, 2)).shape == (3,)


def test_a_solver_that_no_step_accepts_is_refused():
    flow = models.FFJORD(features=2, hidden=(8,)).build()
    with pytest.raises(ValueError, match="solves no step of this flow, which has Continuous"):
        flow.sample(3, solve=jacobi)
    assert flow.sample(3, solve=[Bosh3(), Hutchinson()]).shape == (3, 2)
    assert flow.exact
    assert not flow.solved_by(Hutchinson()).exact


def test_dynamics_that_explode_are_named():
    x = torch.full((3, 1), -0.1)
    x[1] = -2.0  # backwards in time from 1, x² is reached at −∞ at time 1/2
    with pytest.raises(FloatingPointError, match=r"row 1 cannot be integrated beyond time 0\.5.* evaluations"):
        Continuous(Explosive(), solve=Dopri5()).encode(x)
    with pytest.raises(FloatingPointError, match="most=3"):
        Continuous(network(), solve=Dopri5(most=3)).encode(rows())


def test_a_tolerance_beneath_rounding_is_refused():
    flow = Continuous(network().float(), solve=Dopri5(rtol=1e-9, atol=1e-9))
    with pytest.raises(ValueError, match="use a wider dtype"):
        flow(rows().float())
    for solver in ADAPTIVE:
        with pytest.raises(ValueError, match="above 0"):
            solver(rtol=0)


def test_samples_with_their_densities_and_inference_mode():
    flow = Flow(Continuous(network()), StandardNormal(3), event=(3,)).double()
    with torch.inference_mode():
        x, log_prob = flow.sample_and_log_prob(5, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=1e-8, atol=1e-8)
        pushed = Flow(Continuous(network(hidden=(8, 8, 8))), StandardNormal(3), event=(3,)).double()
        assert pushed.log_prob(x).isfinite().all()


def test_a_guided_velocity():
    net = network(context_encoder=LabelEmbedding(3, 8))
    flow = Flow(Inverse(Inverse(Continuous(net))), StandardNormal(3), event=(3,), conditions={"label": Label(3)})
    x, labels, t = rows(), torch.tensor([0, 1, 2, -1]), torch.zeros(4, dtype=torch.float64)
    guided = flow.guided(2.0)
    with_label, without = (net(x, t, flow.context(given)) for given in (labels, torch.full((4,), -1)))
    velocity = guided.transform.transform.transform.net(x, t, flow.context(labels))
    torch.testing.assert_close(velocity, with_label + 2.0 * (with_label - without))
    assert guided.exact
    torch.testing.assert_close(guided.decode(guided.encode(x, labels), labels), x, rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="one weight"):
        flow.guided(2.0, rule=guidance.Linear(on="mean"))


@pytest.mark.filterwarnings("ignore")  # its own
def test_torchdiffeq_agrees():
    """Its solution and integral, at the same tolerance; with another grid of times, to that tolerance."""
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed")
    net, x = network(), rows(16)

    def field(t, state):
        return net.with_divergence(state[0], t.expand(16))

    with torch.no_grad():
        z, log_det = Continuous(net, solve=Dopri5(rtol=1e-9, atol=1e-9))(x)
        times = torch.tensor([1.0, 0.0], dtype=torch.float64)
        theirs = torchdiffeq.odeint(field, (x, x.new_zeros(16)), times, method="dopri5", rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(z, theirs[0][-1], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(log_det, theirs[1][-1], rtol=1e-7, atol=1e-7)


def test_a_density_integrates_to_one():
    flow = Flow(Continuous(network(2, size=0.6)), StandardNormal(2), event=(2,)).double()
    line = torch.linspace(-12, 12, 161, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        log_prob = flow.solved_by(Dopri5(rtol=1e-6, atol=1e-6)).log_prob(grid)
    assert log_prob.exp().sum().item() * (24 / 160) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "net",
    [
        VelocityUNet((2, 4, 2), width=4, levels=2, context_encoder=LabelEmbedding(3, 8)),
        VelocityViT((2, 4, 2), patch=2, width=8, depth=1, heads=2, context_encoder=LabelEmbedding(3, 8)),
    ],
    ids=["U-Net", "ViT"],
)
def test_velocities_of_images_have_the_divergence_of_autograd_and_its_gradient(net):
    """In forward mode and then in reverse, which for some functions of torch is wrong; rows do not see each other."""
    net = copy.deepcopy(net).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    x, t = torch.randn(3, 2, 4, 2, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    context = read({"label": Label(3)}, torch.arange(3))
    v, divergence = ExactDivergence()(net, x, t, context, None)
    alone = [net(x[i : i + 1], t[i : i + 1], each(context, lambda c, i=i: c[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), v)

    def trace(i: int) -> torch.Tensor:
        one = each(context, lambda c: c[i : i + 1])
        found = torch.autograd.functional.jacobian(
            lambda x: net(x[None], t[i : i + 1], one)[0], x[i], create_graph=True
        )
        return found.reshape(16, 16).trace()

    traces = torch.stack([trace(i) for i in range(3)])
    torch.testing.assert_close(divergence, traces)
    weights = [p for name, p in net.named_parameters() if not name.endswith("answer.bias")]
    ours, theirs = (torch.autograd.grad(d.square().sum(), weights, allow_unused=True) for d in (divergence, traces))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_tuned_decoder_learns_beside_a_continuous_flow():
    decoder, data = nn.Conv2d(1, 1, 1), torch.randint(17, (2, 1, 2, 2))
    codec = FrozenAutoencoder(nn.Identity(), decoder, levels=17, tuned=True)
    flow = models.FlowMatching(image=(1, 2, 2), net=UNetOptions(width=4, levels=1, blocks=1)).build()
    PenalisedLikelihood(flow, codec)(data)[0].backward()
    assert codec.tuned.weight.grad.abs() > 0
    assert decoder.weight.grad is None


def test_a_penalty_changes_neither_the_score_nor_its_words():
    flow, x = models.FFJORD(features=2, hidden=(8,)).build(), torch.randn(4, 2)
    penalised = flow.objective.build(flow, Identity())
    assert penalised.words(1.5) == Likelihood(flow).words(1.5) == "training log p -1.500 nats"
    loss, logs = penalised(x)
    torch.testing.assert_close(logs["nats"], -flow.log_prob(x).mean(), atol=1e-2, rtol=0)
    part = flow.transform[-1]
    energy = part.integrate(flow.transform[0](x)[0]).kinetic
    torch.testing.assert_close(loss, (logs["nats"] + 0.005 * energy.mean()) / 2, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dropout", [10, -0.1, math.nan, (("label", 2.0),)])
def test_a_dropout_is_a_probability(dropout):
    flow = models.FFJORD(features=2, classes=2, hidden=(8,)).build()
    with pytest.raises(ValueError, match="condition_dropout, a probability, is"):
        Likelihood(flow, condition_dropout=dropout)

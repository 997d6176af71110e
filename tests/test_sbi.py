"""Simulation-based inference with the real sbi, against the exact posterior of a linear Gaussian simulator."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

import pushforward as pf

pytest.importorskip("sbi", reason="sbi is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:Maximum number of epochs")

MATRIX, NOISE = torch.tensor([[100.0, 50.0], [0.0, 100.0], [50.0, 0.0]]), 50.0  # in units far from one
PRIOR = MultivariateNormal(torch.full((2,), 3.0), torch.eye(2))
OBSERVED = torch.tensor([500.0, 400.0, 150.0])
SMALL = {"transforms": 2, "hidden": (32,)}
TRAIN = {"training_batch_size": 100, "learning_rate": 5e-3, "max_num_epochs": 40}


@pytest.fixture(autouse=True)
def _logs_elsewhere(monkeypatch, tmp_path):
    """sbi writes its logs where it is run."""
    monkeypatch.chdir(tmp_path)


def simulate(theta):
    return theta @ MATRIX.T + NOISE * torch.randn(len(theta), 3)


def exact_posterior():
    precision = torch.eye(2) + MATRIX.T @ MATRIX / NOISE**2
    mean = torch.linalg.solve(precision, PRIOR.mean + MATRIX.T @ OBSERVED / NOISE**2)
    return MultivariateNormal(mean, precision_matrix=precision)


def divergence(posterior) -> float:
    """KL(exact | posterior), in nats."""
    theta = exact_posterior().sample((1000,))
    return (exact_posterior().log_prob(theta) - posterior.log_prob(theta)).mean().item()


def simulated(count: int):
    theta = PRIOR.sample((count,))
    return theta, simulate(theta)


def test_npe_in_two_rounds():
    from sbi.inference import NPE

    inference = NPE(PRIOR, pf.interop.sbi.estimator(pf.models.MAF, **SMALL), show_progress_bars=False)
    inference.append_simulations(*simulated(500)).train(**TRAIN)
    first = inference.build_posterior().set_default_x(OBSERVED)
    assert divergence(first) < 0.15
    theta = first.sample((200,), show_progress_bars=False)
    inference.append_simulations(theta, simulate(theta), proposal=first).train(**TRAIN | {"max_num_epochs": 10})
    second = inference.build_posterior().set_default_x(OBSERVED)
    assert divergence(second) < 0.1
    draws, exact = second.sample((2000,), show_progress_bars=False), exact_posterior()
    torch.testing.assert_close(draws.mean(0), exact.mean, atol=0.15, rtol=0)
    torch.testing.assert_close(draws.std(0), exact.stddev, atol=0.1, rtol=0)
    again = pickle.loads(pickle.dumps(second))
    torch.testing.assert_close(again.log_prob(draws), second.log_prob(draws))


def test_npe_by_flow_matching():
    """The loss is not a density's; samples and densities are those of the solved equation, and agree."""
    from sbi.inference import NPE

    torch.manual_seed(0)
    build = pf.interop.sbi.estimator(pf.models.FlowMatching, hidden=(32, 32))
    inference = NPE(PRIOR, build, show_progress_bars=False)
    trained = inference.append_simulations(*simulated(500)).train(
        **TRAIN | {"max_num_epochs": 60, "learning_rate": 2e-2}
    )
    posterior = inference.build_posterior().set_default_x(OBSERVED)
    assert divergence(posterior) < 0.3
    assert trained.loss(torch.randn(6, 2), torch.randn(6, 3)).shape == (6,)
    again, pairs = pickle.loads(pickle.dumps(trained)), (torch.randn(1, 6, 2), torch.randn(6, 3))
    assert torch.equal(again.log_prob(*pairs), trained.log_prob(*pairs))


def test_nle():
    from sbi.inference import NLE

    inference = NLE(PRIOR, pf.interop.sbi.estimator(pf.models.MAF, of="likelihood", **SMALL), show_progress_bars=False)
    inference.append_simulations(*simulated(500)).train(**TRAIN)
    posterior = inference.build_posterior(sample_with="rejection").set_default_x(OBSERVED)
    theta = exact_posterior().sample((1000,))
    difference = posterior.potential(theta) - exact_posterior().log_prob(theta)  # the evidence, for all theta
    assert difference.std() < 0.4
    draws = posterior.sample((500,), show_progress_bars=False)
    torch.testing.assert_close(draws.mean(0), exact_posterior().mean, atol=0.15, rtol=0)


@pytest.fixture
def embedded():
    """An estimator of θ (3,) given pictures (1, 4, 4), after an embedding of its own."""
    build = pf.interop.sbi.estimator(
        embedding=nn.Sequential(nn.Flatten(), nn.Linear(16, 5)), transforms=2, hidden=(16,)
    )
    return build(10 + 7 * torch.randn(50, 3), 4 + 3 * torch.randn(50, 1, 4, 4))


def test_shapes_are_those_that_sbi_asks_for(embedded):
    assert embedded.input_shape == (3,)
    assert embedded.condition_shape == (1, 4, 4)
    theta, pictures = torch.randn(6, 5, 3), torch.randn(5, 1, 4, 4)
    log_p = embedded.log_prob(theta, pictures)
    assert log_p.shape == (6, 5)
    torch.testing.assert_close(embedded.log_prob(theta[0], pictures), log_p[:1])
    torch.testing.assert_close(embedded.loss(theta[0], pictures), -log_p[0])
    torch.testing.assert_close(embedded.log_prob(theta[:, :1], pictures[:1]), log_p[:, :1])
    assert embedded.log_prob(theta[:, :1], pictures).shape == (6, 5)
    assert embedded.sample((7, 2), pictures).shape == (7, 2, 5, 3)


def test_both_sides_are_in_their_own_units(embedded):
    draws = embedded.sample((2000,), 4 + 3 * torch.randn(1, 1, 4, 4))  # the flow is a standard normal until it learns
    torch.testing.assert_close(draws.mean((0, 1)), torch.full((3,), 10.0), atol=3.0, rtol=0)
    torch.testing.assert_close(draws.std((0, 1)), torch.full((3,), 7.0), atol=2.0, rtol=0)
    numbers = embedded.embedding_net.units(4 + 3 * torch.randn(1000, 16))[0]
    assert abs(numbers.mean()) < 0.3
    assert abs(numbers.std() - 1) < 0.2


def test_samples_and_their_log_probs_belong_to_their_conditions(embedded):
    with torch.no_grad():
        for parameter in embedded.net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    pictures = torch.randn(2, 1, 4, 4) * 10
    draws, log_p = embedded.sample_and_log_prob((50,), pictures)
    torch.testing.assert_close(log_p, embedded.log_prob(draws, pictures), atol=1e-3, rtol=1e-3)
    twin = copy.deepcopy(embedded)
    twin.load_state_dict(embedded.state_dict())
    assert torch.equal(twin.log_prob(draws, pictures), embedded.log_prob(draws, pictures))


def test_it_is_checked_for_calibration(embedded):
    theta, pictures = torch.randn(20, 3), torch.randn(20, 1, 4, 4)
    calibration = pf.evaluation.check_calibration(embedded.net, theta, embedded.embedding_net(pictures), draws=9)
    assert calibration.ranks.shape == (20, 3)


def test_every_estimator_has_an_embedding_of_its_own():
    embedding = nn.Linear(2, 2)
    build = pf.interop.sbi.estimator(embedding=embedding, transforms=1)
    one, two = (build(torch.randn(9, 2), torch.randn(9, 2)) for _ in range(2))
    assert len({id(net) for net in (embedding, one.embedding_net.embedding, two.embedding_net.embedding)}) == 3


@pytest.mark.parametrize("model", ["nsf", pf.models.NSF(features=2)])
def test_what_is_no_class_of_models_is_refused_before_sbi_calls_it(model):
    with pytest.raises(
        TypeError, match=r"takes a class of pushforward.models, such as pf.models.NSF, or functools.partial"
    ):
        pf.interop.sbi.estimator(model)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"features": 2}, "sizes are those of the parameters and outcomes that sbi passes: leave out features"),
        ({"embedding": torch.nn.Linear}, "an embedding is a torch.nn.Module"),
    ],
)
def test_options_that_an_estimator_does_not_take_are_refused(options, told):
    with pytest.raises(TypeError, match=told):
        pf.interop.sbi.estimator(**options)


def test_what_it_cannot_be_of_is_refused():
    with pytest.raises(ValueError, match='"posterior" .* or of the "likelihood" .*; got \'ratio\''):
        pf.interop.sbi.estimator(of="ratio")


@pytest.mark.parametrize("model", [pf.models.RectifiedFlow, pf.models.OTFlowMatching])
def test_matching_that_sbi_does_not_train_is_refused(model):
    build = pf.interop.sbi.estimator(model, hidden=(8,))
    with pytest.raises(ValueError, match="no rounds of reflow and learns no coupling"):
        build(torch.randn(9, 2), torch.randn(9, 3))


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ("NPE_A", "NPE_A trains mixtures of Gaussians"),
        ("FMPE", r"33 events and 2 conditions .* give estimator\(pf.models.FlowMatching\) to NPE"),
        ("NPSE", "FMPE and NPSE ask so, which train networks of their own"),
        ("NRE_A", "NRE trains classifiers of pairs"),
        ("NRE_C", "NRE trains classifiers of pairs"),
        ("BNRE", "NRE trains classifiers of pairs"),
    ],
)
def test_trainers_of_other_networks_are_told_what_a_flow_is(trainer, told):
    from sbi import inference

    build = pf.interop.sbi.estimator(pf.models.FlowMatching, hidden=(8,))
    trains = getattr(inference, trainer)(PRIOR, build, show_progress_bars=False)
    with pytest.raises(TypeError, match=told):
        trains.append_simulations(*simulated(33)).train(training_batch_size=10, max_num_epochs=1)

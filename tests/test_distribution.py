"""The torch.distributions view, by itself and inside the packages that take it."""

from __future__ import annotations

import pytest
import torch

from pushforward.models import CircularNSF
from pushforward.transforms import Circle, Integers, Interval
from tests.toys import plane, randomised, vector


@pytest.fixture
def flow():
    return randomised(vector(3, context=2))


def test_shapes(flow):
    distribution = flow(torch.randn(4, 5, 2))
    assert distribution.batch_shape == (4, 5)
    assert distribution.event_shape == (3,)
    assert distribution.has_rsample
    x = distribution.sample((6,))
    assert x.shape == (6, 4, 5, 3)
    assert distribution.log_prob(x).shape == (6, 4, 5)
    assert distribution.transform(x).shape == (6, 4, 5, 3, 1)
    x, log_p = distribution.rsample_and_log_prob((6,))
    torch.testing.assert_close(log_p, distribution.log_prob(x))
    assert distribution.support.check(x).all()


def test_support_is_that_of_each_number():
    supports = (Interval(), Interval(0), Interval(high=2), Interval(-1, 1), Circle(0, 360), Integers(0, 9))
    distribution = CircularNSF(features=6, supports=supports, hidden=(8, 8), transforms=1).build()()
    inside = torch.tensor([-9.0, 1.0, -9.0, 0.5, 359.0, 9.5])
    assert distribution.support.event_dim == 1
    assert distribution.support.check(inside).all()
    assert distribution.support.check(distribution.sample((100,))).all()
    for column, outside in {1: -1.0, 2: 3.0, 3: 2.0, 4: 360.0, 5: 11.0}.items():
        x = inside.clone()
        x[column] = outside
        assert distribution.support.check(torch.stack([inside, x])).tolist() == [True, False]
        assert distribution.support.outside(x[None])[0].tolist() == [i == column != 4 for i in range(6)]


def test_rows_keep_their_contexts(flow):
    context = torch.tensor([[3.0, 0.0], [-3.0, 0.0]])
    x = torch.randn(2, 3)
    expected = torch.stack([flow(c).log_prob(x[i]) for i, c in enumerate(context)])
    torch.testing.assert_close(flow(context).log_prob(x), expected)
    assert flow(context[0]).log_prob(x).shape == (2,)
    means = flow(context).sample((4000,)).mean(0)
    torch.testing.assert_close(
        means, torch.stack([flow(c).sample((4000,)).mean(0) for c in context]), atol=0.15, rtol=0
    )


@pytest.mark.parametrize("shape", [(7,), (2, 7)])
def test_expand(flow, shape):
    for distribution in (flow(torch.randn(1, 2)), randomised(vector(3))()):
        wide = distribution.expand(shape)
        assert wide.batch_shape == shape
        x = wide.rsample((5,))
        assert x.shape == (5, *shape, 3)
        assert wide.log_prob(x).shape == (5, *shape)


def test_it_says_what_it_is_and_what_it_lacks(flow):
    distribution = flow(torch.zeros(4, 2))
    assert repr(distribution) == f"FlowDistribution(event_shape={tuple(flow.event)}, batch_shape=(4,))"
    for asked in ("mean", "variance", "stddev"):
        with pytest.raises(NotImplementedError, match=r"draws: sample\(\(10_000,\)\)"):
            getattr(distribution, asked)
    with pytest.raises(NotImplementedError, match="Average over draws"):
        distribution.entropy()
    with pytest.raises(ValueError, match=r"batch shape \(4,\), and the value is of events in the shape \(3,\)"):
        distribution.log_prob(torch.zeros(3, *flow.event))


def test_it_goes_inside_torch_s_own_distributions():
    flow = randomised(vector(3)).double()
    independent = torch.distributions.Independent(flow().expand((4,)), 1)
    assert independent.log_prob(independent.sample((2,)).double()).shape == (2,)
    assert plane()().event_shape == (1, 1, 2)


@pytest.mark.parametrize("place", [lambda flow: torch.distributions.Independent(flow, 0), lambda flow: flow.stddev])
def test_a_flow_in_the_place_of_its_distribution_is_told(place):
    with pytest.raises(AttributeError, match=r"a flow is no distribution, and has no \w+\. flow\(\) is one"):
        place(vector(2))
    with pytest.raises(AttributeError, match="'Flow' object has no attribute 'probability'"):
        vector(2).probability  # noqa: B018  # pyright: ignore


USED = {"number": lambda z: 2 * z, "tensor": lambda z: z - torch.ones(2), "index": lambda z: z[..., 0]}
USED |= {"function": torch.exp, "method": lambda z: z.exp(), "parameter": lambda z: torch.distributions.Normal(z, 1.0)}


@pytest.mark.parametrize("use", USED)
def test_a_distribution_in_the_place_of_a_draw_is_told(use):
    """As in Pyro, where pyro.sample("z", flow) calls the flow."""
    with pytest.raises(
        (TypeError, AttributeError), match=r"no tensor\. For draws .* in Pyro, .*to_pyro\(flow\(context\)\)"
    ):
        USED[use](vector(2)())


def test_a_flow_in_the_place_of_an_estimator_is_told():
    """lampe's losses call an estimator with events and their contexts, which its NPE is."""
    with pytest.raises(TypeError, match=r"its context alone.*; got 2 values.* log_prob\(x, context\).*takes NPE\("):
        vector(2, 2)(torch.zeros(3, 2), torch.zeros(3, 2))


def test_lampe_learns_a_posterior():
    """theta ~ N(0, I), x = theta + noise/2: the posterior of theta is N(0.8 x, 0.2 I)."""
    inference = pytest.importorskip("lampe.inference", reason="lampe is not installed")
    torch.manual_seed(1)
    estimator = inference.NPE(2, 2, build=vector)
    loss, optimiser = inference.NPELoss(estimator), torch.optim.Adam(estimator.parameters(), lr=1e-2)
    for _ in range(300):
        theta = torch.randn(256, 2)
        optimiser.zero_grad()
        loss(theta, theta + 0.5 * torch.randn(256, 2)).backward()
        optimiser.step()
    x = torch.tensor([1.0, -0.5])
    with torch.no_grad():
        draws = estimator.flow(x).sample((4000,))
    torch.testing.assert_close(draws.mean(0), 0.8 * x, atol=0.1, rtol=0)
    torch.testing.assert_close(draws.var(0), torch.full((2,), 0.2), atol=0.06, rtol=0)

"""Flows inside Pyro: plates, masks, scales, and every kind of inference."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.transforms import Circle, Integers, Interval
from tests.toys import randomised, vector

pyro = pytest.importorskip("pyro", reason="pyro is not installed")

from pyro import poutine  # noqa: E402
from pyro.distributions import Normal  # noqa: E402
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO, autoguide  # noqa: E402

to_pyro = pf.interop.pyro.to_pyro
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def _no_parameters():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


@pytest.fixture
def flow():
    return randomised(vector(2))


@pytest.fixture
def conditional():
    return randomised(vector(2, context=1))


def gaussian(*supports) -> pf.Flow:
    """An untrained flow: normal on the real line, and the image of that on other supports."""
    return pf.models.NSF(features=2, supports=supports, hidden=(8,), transforms=1).build()


def log_prob_of(model) -> torch.Tensor:
    """The log-density of a model's trace, summed over its sites."""
    return poutine.trace(model).get_trace().log_prob_sum()


def test_a_bare_distribution_says_what_to_do(flow):
    with pytest.raises(TypeError, match=r"interop\.pyro\.to_pyro\(flow\(context\)\)"):
        pyro.sample("z", flow())
    for other in (flow, Normal(0.0, 1.0), pf.models.MAF(features=2)):
        with pytest.raises(TypeError, match=r"to_pyro takes the distribution of a flow, flow\(context\) or flow\(\)"):
            to_pyro(other)  # pyright: ignore[reportArgumentType]


def test_a_sample_and_its_density_outside_of_inference(flow):
    distribution = to_pyro(flow())
    z = pyro.sample("z", distribution)
    assert z.shape == (2,)
    torch.testing.assert_close(distribution.log_prob(z), flow.log_prob(z[None])[0])
    assert distribution.log_prob(z + 1) != distribution.log_prob(z)
    assert not distribution.has_enumerate_support


@pytest.mark.parametrize("outer", [None, 4])
def test_plates_broadcast_and_add_up(flow, conditional, outer):
    x, context = torch.randn(5, 2), torch.randn(5, 1)

    def model():
        if outer:
            with pyro.plate("outer", outer, dim=-2), pyro.plate("rows", 5, dim=-1):
                z = pyro.sample("z", to_pyro(flow()))
                assert z.shape == (4, 5, 2)
                assert (z[0] != z[1]).any()
                pyro.sample("x", to_pyro(conditional(context)), obs=x)
        else:
            with pyro.plate("rows", 5):
                pyro.sample("z", to_pyro(flow()), obs=x)
                pyro.sample("x", to_pyro(conditional(context)), obs=x)

    trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    shape = (outer, 5) if outer else (5,)
    for name, expected in (
        ("z", flow.log_prob(trace.nodes["z"]["value"].reshape(-1, 2)).reshape(shape)),
        ("x", conditional.log_prob(x, context).expand(shape)),
    ):
        torch.testing.assert_close(trace.nodes[name]["log_prob"], expected)


def test_masks_and_scales_apply_to_events(conditional):
    x, context = torch.randn(5, 2), torch.randn(5, 1)
    mask = torch.tensor([True, False, True, True, False])
    log_p = conditional.log_prob(x, context)

    def model():
        with pyro.plate("rows", 50, subsample=torch.arange(5)):
            pyro.sample("x", to_pyro(conditional(context)).mask(mask), obs=x)

    torch.testing.assert_close(log_prob_of(model), 10 * log_p[mask].sum())
    torch.testing.assert_close(log_prob_of(poutine.scale(model, 0.5)), 5 * log_p[mask].sum())
    torch.testing.assert_close(log_prob_of(poutine.mask(model, mask=torch.tensor(False))), torch.tensor(0.0))

    def imputed():
        with pyro.plate("rows", 5):
            return pyro.sample("x", to_pyro(conditional(context)), obs=x, obs_mask=mask)

    assert (imputed() == x).all(1).tolist() == mask.tolist()
    joint = to_pyro(conditional(context)).to_event(1)
    torch.testing.assert_close(joint.log_prob(x), log_p.sum())


def test_svi_fits_a_guide():
    """The flow is the guide of a Gaussian, N(1, 0.5²) in each of two dimensions."""
    flow = vector(2)

    def model():
        pyro.sample("z", Normal(torch.ones(2), 0.5).to_event(1))

    def guide():
        pyro.module("flow", flow)
        pyro.sample("z", to_pyro(flow()))

    svi = SVI(
        model,
        guide,
        pyro.optim.ClippedAdam({"lr": 2e-2, "lrd": 0.99}),
        Trace_ELBO(num_particles=64, vectorize_particles=True),
    )
    losses = [svi.step() for _ in range(300)]
    x = flow().sample((4000,))
    torch.testing.assert_close(x.mean(0), torch.ones(2), atol=0.1, rtol=0)
    torch.testing.assert_close(x.std(0), torch.full((2,), 0.5), atol=0.1, rtol=0)
    assert losses[-1] < 0.1


def test_svi_fits_an_amortised_guide_in_a_subsampled_plate():
    """z ~ N(0, 1), x ~ N(z, 1): the posterior is N(x / 2, 1 / 2), in each of two dimensions."""
    flow = pf.models.IAF(features=2, context=2, transforms=2, hidden=(32,)).build()
    data = torch.stack([torch.linspace(-2, 2, 40), torch.linspace(1, -1, 40)], 1)

    def model(x):
        with pyro.plate("rows", 40, subsample_size=20) as rows:
            z = pyro.sample("z", Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", Normal(z, 1.0).to_event(1), obs=x[rows])

    def guide(x):
        pyro.module("flow", flow)
        with pyro.plate("rows", 40, subsample_size=20) as rows:
            pyro.sample("z", to_pyro(flow(x[rows])))

    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 2e-2, "lrd": 0.99}), Trace_ELBO())
    for _ in range(300):
        svi.step(data)
    z = flow(data).sample((2000,))
    torch.testing.assert_close(z.mean(0), data / 2, atol=0.2, rtol=0)
    torch.testing.assert_close(z.std(0), torch.full((40, 2), 0.5**0.5), atol=0.2, rtol=0)


SUPPORTS = [(), (Interval(0), Interval(-1, 2)), (Interval(high=3), Integers(0, 4))]


def prior_and_observation(flow):
    def model(x=None):
        z = pyro.sample("z", to_pyro(flow()))
        return pyro.sample("x", Normal(z.sum(-1), 0.5), obs=x)

    return model


@pytest.mark.parametrize("supports", SUPPORTS)
def test_nuts_draws_from_the_posterior(supports):
    """The posterior mean of the sum, against importance sampling from the prior."""
    flow, x = gaussian(*supports), torch.tensor(1.5)
    mcmc = MCMC(NUTS(prior_and_observation(flow), max_tree_depth=3), 150, warmup_steps=30, disable_progbar=True)
    mcmc.run(x)
    z = mcmc.get_samples()["z"]
    assert flow().support.check(z).all()
    draws = flow.sample(100_000)
    weights = Normal(draws.sum(1), 0.5).log_prob(x).softmax(0)
    torch.testing.assert_close(z.sum(1).mean(), weights @ draws.sum(1), atol=0.15, rtol=0)


@pytest.mark.parametrize("supports", SUPPORTS)
@pytest.mark.parametrize(
    "kind", ["AutoNormal", "AutoMultivariateNormal", "AutoDelta", "AutoIAFNormal", "AutoStructured"]
)
def test_autoguides_draw_inside_the_support(kind, supports):
    flow, x = gaussian(*supports), torch.tensor(1.5)
    model = prior_and_observation(flow)
    guide = getattr(autoguide, kind)(model)
    elbo = TraceMeanField_ELBO() if kind == "AutoNormal" else Trace_ELBO()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), elbo)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-20:]) < sum(losses[:20])
    z = guide(x)["z"]
    assert z.shape == (2,)
    assert flow().support.check(z)


def test_bijections_have_the_event_dimension_of_the_support():
    """AutoStructured and AutoGaussian ask for it."""
    for supports in SUPPORTS:
        support = gaussian(*supports)().support
        bijection = torch.distributions.biject_to(support)
        assert bijection.codomain.event_dim == support.event_dim == 1
        assert bijection.log_abs_det_jacobian(torch.zeros(3, 2), bijection(torch.zeros(3, 2))).shape == (3,)


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive(flow, parallel):
    model = prior_and_observation(flow)
    draws = Predictive(model, num_samples=7, parallel=parallel)()
    assert draws["z"].shape == (7, 2)
    assert draws["x"].shape == (7,)

    def guide():
        pyro.sample("z", to_pyro(flow()))

    posterior = Predictive(model, guide=guide, num_samples=7, parallel=parallel)()
    assert posterior["x"].shape == (7,)
    again = Predictive(model, posterior_samples={"z": draws["z"]}, parallel=parallel)()
    assert again["x"].shape == (7,)


def test_unconstrained_space_is_mapped_onto_the_support():
    supports = (Interval(), Interval(0), Interval(high=2), Interval(-1, 1), Circle(0, 360), Integers(0, 9))
    support = pf.models.CircularNSF(features=6, supports=supports, hidden=(8, 8), transforms=1).build()().support
    there = torch.distributions.biject_to(support)
    u = torch.randn(4, 3, 6, dtype=torch.float64)
    x = there(u)
    assert support.check(x).all()
    torch.testing.assert_close(there.inv(x), u)
    assert there.log_abs_det_jacobian(u, x).shape == (4, 3)  # one for each event

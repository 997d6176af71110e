"""A flow from a table or from a density: it finds what is known, and says what it cannot use."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.data import Arrays
from pushforward.evaluation import importance
from pushforward.randomness import Keyed, keyed
from pushforward.training import Checkpoints, Likelihood, Plan, ReverseKL, minimise

MIX = torch.tensor([[1.0, 0.0], [1.2, 0.5]], dtype=torch.float64)
ENTROPY = math.log(2 * math.pi * math.e) + MIX.logdet().item()  # of MIX · noise, in nats


def gaussian(n: int, seed: int = 0) -> Tensor:
    """Correlated, and far from standardised."""
    return torch.randn(n, 2, generator=keyed(seed), dtype=torch.float64) @ MIX.T + torch.tensor([300.0, -5.0])


def maf(**options) -> pf.Flow:
    torch.manual_seed(0)
    return pf.models.MAF(**{"features": 2, "transforms": 1, "hidden": (16,), **options}).build()


def weights_of(flow: pf.Flow) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in flow.state_dict().values()])


def test_it_finds_a_gaussian_s_entropy_from_numpy_in_place():
    flow = maf()
    fitted = pf.fit(flow, gaussian(4000).numpy(), steps=300, lr=1e-2)
    test = gaussian(20000, seed=1).float()
    with torch.no_grad():
        assert flow.log_prob(test).mean().item() == pytest.approx(-ENTROPY, abs=0.03)
    assert fitted.score == pytest.approx(-ENTROPY, abs=4 * fitted.standard_error)
    assert fitted.standard_error == pytest.approx(1 / math.sqrt(400), rel=0.15)  # log p has a variance of 2 · 1/2
    assert not flow.training
    assert str(fitted).startswith(f"held-out log p: {fitted.score:.3f} ± ")
    assert "\n" not in str(fitted)


@pytest.mark.filterwarnings("ignore:a MAF of one feature")
def test_it_learns_what_depends_on_a_context():
    x, flow = gaussian(4000), maf(features=1, context=1)
    pf.fit(flow, x[:, 1:], x[:, :1], steps=300, lr=1e-2)
    x = gaussian(20000, seed=1)
    with torch.no_grad():
        found = flow.log_prob(x[:, 1:].float(), x[:, :1].float())
    assert found.mean().item() == pytest.approx(-0.5 * math.log(2 * math.pi * math.e * 0.5**2), abs=0.03)


@pytest.mark.filterwarnings("ignore:a MAF of one feature")
def test_weights_are_honoured():
    """x of a standard normal, weighted by exp(a x), is a normal around a."""
    x = torch.randn(20000, 1, generator=keyed(0))
    flow = maf(features=1)
    fitted = pf.fit(flow, x, weights=7 * x[:, 0].exp(), steps=200, lr=1e-2)
    test = 1 + torch.randn(20000, 1, generator=keyed(1))
    with torch.no_grad():
        assert flow.log_prob(test).mean().item() == pytest.approx(-0.5 * math.log(2 * math.pi * math.e), abs=0.02)
    assert fitted.score == pytest.approx(-0.5 * math.log(2 * math.pi * math.e), abs=4 * fitted.standard_error)


def test_a_weight_of_zero_leaves_an_event_out():
    x, half = gaussian(200), torch.arange(200) % 2
    flows = [maf(), maf()]
    pf.fit(flows[0], x, weights=half * 3.0, steps=5)
    pf.fit(flows[1], x[half == 1], steps=5)
    torch.testing.assert_close(*map(weights_of, flows))


def test_the_loss_is_the_weighted_mean():
    flow, x, w = maf().double(), gaussian(8), torch.rand(8, dtype=torch.float64)
    flow.initialize(x)
    nats = -(w * flow.log_prob(x)).sum() / w.sum()
    loss, logs = Likelihood(flow)(x, weights=w / w.mean())
    torch.testing.assert_close(loss, nats / 2)
    torch.testing.assert_close(logs["nats"], nats.detach())


def test_weights_follow_their_events_into_the_parts_of_a_batch():
    def trained(accumulate):
        data, flow = Arrays(gaussian(8)), maf().double()
        data.weights = torch.linspace(0, 2, 8, dtype=torch.float64)
        plan = Plan(steps=2, batch=8, lr=1e-2, warmup=0, accumulate=accumulate, precision="float32")
        minimise(Likelihood(flow), data, plan)
        return weights_of(flow)

    torch.testing.assert_close(trained(1), trained(2))


def test_it_stops_early_and_keeps_the_best():
    """Forty events are learned by heart, and those held out then become worse."""
    flow, x = maf(hidden=(64, 64), transforms=3), gaussian(40)
    fitted = pf.fit(flow, x, validation=0.5, patience=3, steps=1000, lr=1e-2, average_decay=0.0)
    assert fitted.stopped == "stopped early"
    assert fitted.best_step == fitted.steps - 3 * 20
    kept_back = x[torch.randperm(40, generator=keyed(0))[:20]].float()
    with torch.no_grad():
        assert flow.log_prob(kept_back).mean().item() == pytest.approx(fitted.score, abs=1e-5)


def test_numbers_of_all_kinds_in_one_flow():
    """A Poisson count, a direction around 350°, and a positive number that follows the count."""
    n, source = 4000, keyed(3)
    count = torch.poisson(torch.full((n,), 3.0), source).clamp(max=9)
    angle = (350 + 20 * torch.randn(n, generator=source)) % 360
    size = torch.exp(0.3 * count + 0.2 * torch.randn(n, generator=source))
    rows = torch.stack([count, angle, size], 1)
    supports = (pf.transforms.Integers(0, 9), pf.transforms.Circle(0, 360), pf.transforms.Interval(0))
    torch.manual_seed(0)
    flow = pf.models.CircularNSF(features=3, supports=supports, transforms=4, hidden=(32,)).build()
    fitted = pf.fit(flow, rows, steps=400, lr=5e-3)
    assert fitted.measured == "held-out bound on log P"
    drawn = pf.codecs.codec_of(flow).decode(flow.sample(4000, generator=keyed(0)))
    count, angle, size = drawn.T
    assert torch.equal(count, count.round())
    assert 0 <= count.min() < count.max() <= 9
    assert ((angle >= 0) & (angle < 360)).all()
    assert (size > 0).all()
    assert count.mean().item() == pytest.approx(3, abs=0.2)
    turned = torch.cos((angle - 350).deg2rad()).mean().item()
    assert turned == pytest.approx(math.exp(-0.5 * math.radians(20) ** 2), abs=0.03)
    poisson = -sum(p * math.log(p) for p in (math.exp(-3) * 3**k / math.factorial(k) for k in range(20)))
    entropy = poisson + math.log(2 * math.pi * math.e * 20 * 0.2) + 0.3 * 3
    assert -entropy - 0.4 < fitted.score < -entropy + 4 * fitted.standard_error
    assert pf.fit(flow, rows.ceil().long(), steps=1).score


def test_without_validation_it_runs_to_its_end():
    fitted = pf.fit(maf(), gaussian(50), validation=0, steps=4)
    assert (fitted.score, fitted.steps, fitted.best_step) == (None, 4, 4)
    assert str(fitted).startswith("nothing was held out: step 4; ended after 4 steps, ")


def test_the_same_seed_gives_the_same_weights():
    def fitted(seed):
        flow = maf()
        pf.fit(flow, gaussian(300), steps=5, seed=seed)
        return weights_of(flow)

    assert torch.equal(fitted(0), fitted(0))
    assert not torch.equal(fitted(0), fitted(1))


def test_what_was_measured_once_is_not_measured_again():
    flow = maf()
    pf.fit(flow, gaussian(300), steps=1)
    units = flow.transform[0].shift.clone()
    pf.fit(flow, gaussian(300) + 5, steps=1)
    assert torch.equal(flow.transform[0].shift, units)


def test_a_weighted_training_that_was_interrupted_ends_like_one_that_was_not(tmp_path):
    class Broken(Arrays):
        left = 6

        def fetch(self, rows):
            self.left -= 1
            if not self.left:
                raise InterruptedError
            return super().fetch(rows)

    def trained(kind, folder):
        data = kind(gaussian(50).float())
        data.weights = torch.linspace(0.5, 1.5, 50)
        return minimise(Likelihood(maf()), data, plan, checkpoints=Checkpoints(folder))

    plan = Plan(steps=6, batch=8, checkpoint_every=2)
    with pytest.raises(InterruptedError):
        trained(Broken, tmp_path)
    assert list((tmp_path / "checkpoints").glob("step-*"))
    (tmp_path / "whole").mkdir()
    assert torch.equal(weights_of(trained(Arrays, tmp_path)), weights_of(trained(Arrays, tmp_path / "whole")))


def test_what_draws_nothing_makes_no_numbers(monkeypatch):
    def refuse(*_):
        raise AssertionError("random numbers were made")

    monkeypatch.setattr(Keyed, "numbers", refuse)
    pf.fit(maf(), gaussian(50), steps=2)


X = gaussian(40)
SUPPORTS = (pf.transforms.Interval(0), pf.transforms.Integers(-6, -4))
HOLED = X.index_fill(0, torch.tensor([3, 7]), math.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pf.fit(maf(), HOLED), "rows 3, 7 of the events hold values that are not finite"),
        (lambda: pf.fit(maf(), X[:, :1]), r"of shape \(batch, 2\); x has shape \(1, 1\)"),
        (lambda: pf.fit(maf(), X[:, 0]), r"these have \(40,\)"),
        (lambda: pf.fit(maf(), X.long()), "takes real events; x is torch.int64"),
        (lambda: pf.fit(maf(), X, X), "this flow is unconditional"),
        (lambda: pf.fit(maf(context=2), X), "this flow is conditional"),
        (lambda: pf.fit(maf(context=2), X, X[:3]), "one row of context for each of 40 events"),
        (lambda: pf.fit(maf(context=2), X, HOLED), "rows 3, 7 of the context hold"),
        (lambda: pf.fit(maf(), X, weights=torch.ones(40, 1)), r"one weight for each of 40 .* shape \(40, 1\)"),
        (lambda: pf.fit(maf(), X, weights=torch.linspace(-1, 40, 40)), "row 0 of them are not, the first is -1"),
        (lambda: pf.fit(maf(), X, weights=X[:, 0] / 0), r"rows 0, 1, 2, 3, 4 and 35 others .* the first is inf"),
        (lambda: pf.fit(maf(), X, weights=torch.zeros(40)), "all weights are zero"),
        (lambda: pf.fit(maf(), X[:1]), "there are 1 events, of which 1 would be held out"),
        (
            lambda: pf.fit(maf(supports=SUPPORTS), X.round()),
            r"feature 1 of row [0-9]+ is -[0-9]+, outside of Integers\(low=-6, high=-4\); [0-9]+ of 40 rows",
        ),
        (lambda: pf.fit(maf(supports=SUPPORTS), X), "column 1 is of integers; row 0 holds -"),
        (lambda: pf.fit(maf(supports=SUPPORTS), X[:, :1]), "are of integers; the data have 1 columns"),
        (lambda: pf.fit(maf(), X, validation=1.0), r"in \[0, 1\); got 1.0"),
        (lambda: pf.fit(maf(), X, patience=0), "at least 1; got 0"),
        (lambda: pf.fit(maf(), X, steps=0), "a plan needs steps of at least 1"),
        (lambda: pf.fit_density(maf(), lambda x: x), r"a tensor \(256,\); it returned shape \(256, 2\)"),
        (lambda: importance(maf(), lambda _: 0.0), r"a tensor \(1000,\); it returned float"),
        (lambda: importance(maf(), lambda x: x[:, 0].log()), "NaN or infinite at [0-9]+ of 10000 draws"),
        (lambda: importance(maf(), lambda x: x[:, 0] * 0 - math.inf), "−inf at all 10000 draws"),
        (lambda: importance(maf(), lambda x: x[:, 0], n=0), "at least one draw; got n=0"),
    ],
)
def test_what_cannot_be_used_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def banana(x: Tensor) -> Tensor:
    """Unnormalised: Z is the 2π · 2 · 0.5 of its Gaussians."""
    return -0.5 * ((x[:, 0] / 2).square() + ((x[:, 1] - 0.25 * x[:, 0].square()) / 0.5).square())


def test_reverse_kl_finds_a_known_normaliser():
    torch.manual_seed(0)
    flow = pf.models.RealNVP(features=2, transforms=4, hidden=(32,)).build()
    fitted = pf.fit_density(flow, banana, steps=300, lr=1e-2)
    found = importance(flow, banana)
    truth = math.log(2 * math.pi)
    assert truth - 0.05 < fitted.score < truth + 3 * fitted.standard_error, "a lower bound, and a close one"
    assert found.log_normaliser == pytest.approx(truth, abs=4 * found.standard_error)
    assert 0.9 < found.effective / 10000 <= 1
    mean = (found.weights[:, None] * found.x).sum(0)
    torch.testing.assert_close(mean, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=0.1, rtol=0)
    assert str(found).startswith(f"log normaliser {found.log_normaliser:.4f} ± ")


@pytest.mark.filterwarnings("ignore:a MAF of one feature")
def test_reverse_kl_given_a_context():
    def shifted(x, context):
        return -0.5 * (x - 3 * context).square().sum(1)

    flow, context = maf(features=1, context=1), torch.randn(500, 1, generator=keyed(1))
    fitted = pf.fit_density(flow, shifted, context, steps=300, lr=1e-2)
    assert fitted.score == pytest.approx(0.5 * math.log(2 * math.pi), abs=0.03)


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_importance_of_a_known_proposal(scale):
    """A standard normal against a normal of s.d. s times Z: the effective share is s √(2 − s²) a number."""
    n, share = 50_000, scale * math.sqrt(2 - scale**2)
    flow = pf.Flow(pf.transforms.Flip(), pf.bases.StandardNormal(1), event=(1,))
    found = importance(flow, lambda x: 5 + torch.distributions.Normal(0, scale).log_prob(x[:, 0]), n)
    assert found.log_normaliser == pytest.approx(5, abs=4 * found.standard_error + 1e-6)
    assert found.effective / n == pytest.approx(share, abs=0.01)
    assert found.standard_error == pytest.approx(math.sqrt((1 / share - 1) / n), rel=0.05, abs=1e-4)
    assert found.weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("shape", [0.1, 0.5, 1.0])
def test_the_tail_of_weights_has_the_shape_of_their_pareto_distribution(shape):
    log_weights = -shape * torch.rand(100_000, generator=keyed(0), dtype=torch.float64).log()
    found = pf.evaluation.Importance(torch.zeros(100_000, 1), log_weights)
    assert found.tail == pytest.approx(shape, abs=0.1)  # two standard errors, of (1 + shape) / sqrt(949)
    assert found.reliable == (found.tail < 0.7)
    assert ("unreliable" in str(found)) == (shape == 1.0)
    assert pf.evaluation.Importance(found.x, torch.zeros_like(log_weights)).tail == -math.inf


def test_the_base_s_variance_is_left_alone_by_what_has_no_latents():
    flow = pf.Flow(pf.Chain(pf.transforms.ActNorm(2)), pf.bases.ObservedNormal(2), event=(2,))
    minimise(ReverseKL(flow, banana), Arrays(torch.empty(8, 0)), Plan(steps=2, batch=8))
    assert torch.equal(flow.base.variance, torch.ones(2))


@pytest.mark.parametrize("autoregressive", [False, True])
def test_a_check_tells_of_numbers_outside_the_splines_bounds(autoregressive):
    flow = pf.models.NSF(features=2, transforms=2, hidden=(8,), autoregressive=autoregressive).build()
    inside, outside = torch.full((3, 2), 4.0), torch.full((1, 2), 6.0)
    assert "; up to 0.00% of elements outside a spline's bounds" in str(flow.check(inside))
    name = "Autoregressive" if autoregressive else "Coupling"
    with pytest.warns(
        RuntimeWarning, match=f"outside the bounds of splines, .*: 25.0% in step 2 {name}, 25.0% in step 4"
    ):
        assert flow.check(torch.cat([inside, outside])).outside == 0.25


def test_a_check_looks_at_splines_beside_circular_ones():
    supports = (pf.transforms.Interval(), pf.transforms.Circle())
    flow = pf.models.CircularNSF(features=2, supports=supports, transforms=2, hidden=(8,)).build()
    x = torch.tensor([[4.0, 3.0], [6.0, 3.0]])
    with pytest.warns(RuntimeWarning, match="as they are: 50.0% in step 3 Coupling"):
        found = flow.check(x)
    assert [step.name for step in found.steps if not math.isnan(step.outside)] == ["3 Coupling"]


def test_a_check_tells_how_much_each_step_stretches():
    torch.manual_seed(0)
    flow = pf.models.IAF(features=4, transforms=2, hidden=(8,)).build()
    lu = pf.transforms.LU(4)
    flow.transform = pf.Chain(*flow.transform, lu, pf.Inverse(lu))
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    flow.double()
    x = torch.randn(50, 4, dtype=torch.float64)
    found = flow.check(x)
    assert [step.name for step in found.steps] == ["0 ActNorm", "1 Autoregressive", "2 Autoregressive", "3 LU", "4 LU"]
    condition = torch.linalg.cond(lu.matrix()).item()
    assert [step.condition for step in found.steps[3:]] == pytest.approx([condition] * 2)
    assert found.steps[4].least == pytest.approx(-found.steps[3].greatest)
    at = x
    for step, seen in zip(flow.transform, found.steps[:3], strict=False):
        jacobian = torch.autograd.functional.jacobian(lambda t, step=step: step(t)[0].sum(0), at).permute(1, 0, 2)
        slopes = jacobian.diagonal(dim1=1, dim2=2).log()
        assert (seen.least, seen.greatest) == pytest.approx((slopes.min().item(), slopes.max().item()))
        at = step(at)[0]
    assert f"condition numbers up to {condition:.3g} (3 LU)" in str(found)

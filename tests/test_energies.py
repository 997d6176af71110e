"""Energies: what reverse KL can learn from, what it refuses before training, and the modes that it finds."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.data import Arrays
from pushforward.evaluation import Importance, importance
from pushforward.objectives.energy import check_energy
from pushforward.objectives.reverse_kl import scores_in_one_pass
from pushforward.randomness import keyed
from pushforward.training import Annealing, Plan, ReverseKL, minimise
from pushforward.transforms import Circle, Interval
from tests.toys import randomised

BOX = (Interval(-1, 1), Interval(0, 2))


def model(**options) -> pf.Flow:
    return pf.models.RealNVP(features=2, transforms=2, hidden=(8,), **options).build()


def normal(x: Tensor) -> Tensor:
    return -0.5 * x.square().sum(1)


def without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return normal(x)


def with_wrong_gradient(x: Tensor) -> Tensor:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return normal(x)

        @staticmethod
        def backward(ctx, slope):
            return 0.5 * slope[:, None] * -ctx.saved_tensors[0]

    return Wrong.apply(x)


REFUSED = {
    "numpy": (lambda x: torch.from_numpy(-0.5 * (x.numpy() ** 2).sum(1)), "leaves torch"),
    "detached numpy": (lambda x: torch.from_numpy(-0.5 * (x.detach().numpy() ** 2).sum(1)), "has no gradient"),
    "no_grad": (without_gradient, "has no gradient"),
    "detached": (lambda x: normal(x.detach()), "has no gradient"),
    "item": (lambda x: torch.tensor([normal(row[None]).item() for row in x]), "has no gradient"),
    "rounded": (lambda x: normal(x).round(), "has no gradient"),
    "rounded input": (lambda x: normal(x.floor()), "has no gradient"),
    "one feature detached": (lambda x: -0.5 * (x[:, 0] ** 2 + x[:, 1].detach() ** 2), "not that of its values"),
    "one term detached": (lambda x: normal(x) + normal(x - 1).detach(), "not that of its values"),
    "some rows detached": (
        lambda x: torch.where(x[:, 0] > 0, normal(x), normal(x.detach())),
        "not that of its values, at [3-6][0-9]%",
    ),
    "wrong gradient": (with_wrong_gradient, "not that of its values, at (9[0-9]|100)%"),
    "integers": (lambda x: normal(x).long(), "returned torch.int64"),
    "complex numbers": (lambda x: normal(x) + 0j, "returned torch.complex64"),
    "in place": (lambda x: normal(x.mul_(2)), "in place. Begin with x = x.clone()"),
    "in place, without a gradient": (lambda x: (normal(x), x.detach().zero_())[0], "in place. Begin with"),
    "one element in place": (lambda x: (x[:, 0].zero_(), normal(x))[1], "in place. Begin with"),
    "truth": (lambda x: x[:, 0] > 0, "returned torch.bool"),
    "constant": (lambda x: torch.zeros(len(x)), "does not depend on anything"),
    "constant with a gradient": (lambda x: 0 * x.sum(1), "does not depend on anything"),
    "feature left out": (lambda x: -0.5 * x[:, 0] ** 2, "does not depend on element 1"),
    "one number": (lambda x: normal(x).sum(), r"it returned shape \(\)"),
    "column": (lambda x: normal(x)[:, None], r"it returned shape \(128, 1\)"),
    "float": (lambda _: 0.0, "it returned float"),
    "mean over rows": (lambda x: normal(x).mean().expand(len(x)), "depends on the other events"),
    "first row for all": (lambda x: normal(x)[:1].expand(len(x)), "depends on the other events"),
    "divided by rows": (lambda x: normal(x) / len(x), "depends on the other events"),
    "root at zero": (
        lambda x: normal(x) - torch.where(x > 0, x.sqrt(), 0).sum(1),
        "gradient of log_density is not finite",
    ),
    "outside of a box": (
        lambda x: torch.where(x.abs().amax(1) < 1, 0 * x.sum(1), -math.inf),
        r"−inf at [0-9]+ of 128 draws of the flow, first at \(.*supports=\(Interval\(low, high\)",
    ),
    "logarithm": (lambda x: x.log().sum(1), "NaN at [0-9]+ of 128 draws .* supports="),
    "pole": (lambda x: normal(x) + torch.where(x[:, 0] > 0, math.inf, 0.0), r"\+inf at [0-9]+ of 128 .* supports="),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_learned_is_refused_before_training(kind):
    log_density, message = REFUSED[kind]
    flow = model()
    before = [p.clone() for p in flow.parameters()]
    with pytest.raises(ValueError, match=message) as raised:
        pf.fit_density(flow, log_density, steps=4)
    assert "rows of the data" not in str(raised.value)
    with pytest.raises(ValueError, match=message):
        minimise(ReverseKL(flow, log_density), Arrays(torch.empty(8, 0)), Plan(steps=2, batch=8))
    assert all(torch.equal(a, b) for a, b in zip(before, flow.parameters(), strict=True))


CENTRE = torch.tensor([300.0, -5.0])
ACCEPTED = {
    "normal": normal,
    "soft box": lambda x: -(x.abs() - 10).relu().square().sum(1),
    "kinks": lambda x: -x.abs().sum(1),
    "heavy tails": lambda x: -1.5 * torch.log1p(x.square()).sum(1),
    "large offset": lambda x: 1e6 + normal(x),
    "far": lambda x: normal((x - CENTRE) / 30),
    "narrow": lambda x: normal(1e4 * x),
    "random": lambda x: normal(x + 0.1 * torch.randn(2)),
    "half precision inside": lambda x: normal(x.half()).float(),
    "float64": lambda x: normal(x.double()),
    "funnel": lambda x: -(x[:, 0].square() / 9 + x[:, 0] + x[:, 1].square() * (-x[:, 0]).exp()) / 2,
}


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.filterwarnings("ignore:log_density changes by")
def test_what_can_be_learned_is_not_refused(kind):
    check_energy(model(), ACCEPTED[kind])
    check_energy(model().double(), ACCEPTED[kind])


def test_a_constant_is_a_density_where_the_support_is_bounded():
    check_energy(model(supports=BOX), REFUSED["constant"][0])
    circular = pf.models.CircularNSF(features=2, supports=(Circle(), Interval(0, 1)), hidden=(8,), transforms=1)
    check_energy(circular.build(), REFUSED["constant"][0])
    with pytest.raises(ValueError, match="does not depend on element 1"):
        check_energy(model(supports=(Interval(0, 1), Interval(0))), REFUSED["constant"][0])


def test_an_energy_given_a_context_is_examined_with_it():
    flow, context = pf.models.MAF(features=2, context=2, hidden=(8,), transforms=1).build(), torch.randn(300, 2)
    check_energy(flow, lambda x, c: normal(x - c), context)
    with pytest.raises(ValueError, match="not that of its values"):
        pf.fit_density(flow, lambda x, c: normal(x.detach() - c), context, steps=4)


@pytest.mark.parametrize("value", [-math.inf, math.nan, math.inf])
def test_what_is_not_finite_later_names_the_box_and_no_rows(value):
    def log_density(x: Tensor) -> Tensor:
        return 4 * x.sum(1) - x.square().sum(1) + torch.where(x[:, 0] > 4.5, value, 0.0)

    with pytest.raises(FloatingPointError, match="supports=") as raised:
        pf.fit_density(model(), log_density, steps=300, lr=0.1, measure_every=300)
    assert "of the data" not in str(raised.value)


UNITS = {"wide": (0.0, 1e6), "narrow": (0.0, 1e-6), "far, and not for float32": (1e9, 0.1), "far": (1e4, 1.0)}


@pytest.mark.parametrize("name", UNITS)
def test_a_density_in_other_units_is_told_of_and_learned_after_initialize(name):
    center, width = UNITS[name]

    def log_density(y):
        return -0.5 * ((y - center) / width).square().sum(1)

    flow = model()
    with pytest.warns(
        UserWarning, match=r"too (much|little) to be learned in few steps.*flow.initialize\(rows\) first"
    ):
        pf.fit_density(flow, log_density, steps=1, progress=False)
    flow = model()
    flow.initialize(center + 2 * width * torch.randn(500, 2, generator=keyed(0), dtype=torch.float64))
    fitted = pf.fit_density(flow, log_density, steps=100, lr=1e-2, progress=False)
    assert fitted.score == pytest.approx(math.log(2 * math.pi) + 2 * math.log(width), abs=0.05)


def test_units_are_told_of_in_many_features_as_in_few():
    flow = pf.models.RealNVP(features=400, transforms=1, hidden=(4,)).build()
    check_energy(flow, lambda x: normal(x / 0.04))
    with pytest.warns(UserWarning, match="too little to be learned"):
        check_energy(flow, lambda x: normal(x / 300))


def test_supports_keep_draws_inside_of_the_box():
    def uniform(x: Tensor) -> Tensor:
        return torch.where((x[:, 0].abs() < 1) & (x[:, 1] > 0) & (x[:, 1] < 2), 0 * x.sum(1), -math.inf)

    flow = model(supports=BOX)
    fitted = pf.fit_density(flow, uniform, steps=200, lr=2e-2)
    assert fitted.score == pytest.approx(math.log(4), abs=0.05)


@pytest.mark.parametrize(
    ("log_density", "message"),
    [
        (lambda x: x[:, 0].log(), "NaN or infinite .* supports="),
        (lambda x: x[:, 0] * 0 - math.inf, "−inf at all .* supports="),
    ],
)
def test_importance_names_the_box_too(log_density, message):
    with pytest.raises(ValueError, match=message):
        importance(model(), log_density, 1000)


ANGLES = torch.arange(8) * math.pi / 4
CENTRES = 4 * torch.stack([ANGLES.cos(), ANGLES.sin()], 1)


def ring(x: Tensor, deviation: float = 0.4) -> Tensor:
    """Eight Gaussians on a circle of radius 4, of equal weight: log Z is 0."""
    squares = ((x[:, None] - CENTRES) / deviation).square().sum(2)
    return (-0.5 * squares).logsumexp(1) - math.log(8 * 2 * math.pi * deviation**2)


def shares(flow: pf.Flow) -> Tensor:
    """The share of draws nearest to each mode."""
    return torch.cdist(flow.sample(4000), CENTRES).argmin(1).bincount(minlength=8) / 4000


@pytest.mark.slow
def test_annealing_finds_the_eight_modes_of_a_ring():
    found = {}
    for anneal in (None, Annealing(width=4.0)):
        torch.manual_seed(0)
        flow = pf.models.NSF(features=2, transforms=4, hidden=(32, 32)).build()
        pf.fit_density(flow, ring, anneal=anneal, steps=600, batch=128, lr=3e-3)
        found[anneal] = shares(flow), importance(flow, ring, 4000)
    (collapsed, missed), (all_modes, complete) = found.values()
    assert (collapsed > 0.01).sum() < 8
    assert missed.log_normaliser < math.log((collapsed > 0).sum() / 8) + max(0.1, 4 * missed.standard_error)
    assert (all_modes > 0.02).all()
    assert complete.log_normaliser == pytest.approx(0, abs=max(0.1, 4 * complete.standard_error))


def test_a_collapsed_flow_is_not_certified():
    """Draws in one mode of eight, by a perfect flow of that mode: nothing measured shows the other seven."""
    one = pf.transforms.ActNorm(2)
    one.initialize_from(CENTRES[0] + 0.4 * torch.randn(100_000, 2))
    found = importance(pf.Flow(pf.Chain(one), pf.bases.StandardNormal(2), event=(2,)), ring)
    assert found.effective > 0.99 * 10_000
    assert found.log_normaliser == pytest.approx(-math.log(8), abs=0.01)
    assert "a lower bound if the flow misses modes, which do not show" in str(found)


def test_the_annealed_target_goes_from_the_wide_flow_to_the_density():
    flow = pf.models.NSF(features=2, hidden=(8,)).build()  # the identity
    objective = ReverseKL(flow, normal, Annealing(width=3.0, share=0.5))
    x = torch.randn(50, 2)
    log_r = objective._log_wide(x, None)
    expected = normal(x / 3)
    torch.testing.assert_close(log_r - log_r[0], expected - expected[0], atol=1e-4, rtol=1e-4)
    objective.begin(0.0)
    loss, logs = objective(torch.empty(50, 0), generator=keyed(0))
    x, log_q = flow.sample_and_log_prob(50, generator=keyed(0))
    torch.testing.assert_close(logs["nats"], (log_q - normal(x)).mean())  # minus this bounds log Z, minus the loss none
    assert (loss - logs["nats"]).abs() > 0.1
    betas = [(objective.begin(done), objective.beta)[1] for done in (0.0, 0.25, 0.5, 0.75)]
    assert betas == pytest.approx([1e-3, 10**-1.5, 1, 1])
    assert not any(p.requires_grad for p in objective.wide.parameters())
    with pytest.raises(ValueError, match="width is a finite number above 0"):
        Annealing(width=0)


@pytest.mark.parametrize("kind", [pf.models.RealNVP, pf.models.MAF])
def test_path_gradients_are_zero_for_every_draw_of_the_density_itself(kind):
    flow = randomised(kind(features=2, transforms=2, hidden=(8,)).build()).double()
    target = copy.deepcopy(flow).requires_grad_(False)
    largest = {}
    for path_gradients in (False, True):
        flow.zero_grad()
        ReverseKL(flow, target.log_prob, path_gradients=path_gradients)(torch.empty(16, 0))[0].backward()
        largest[path_gradients] = max(p.grad.abs().max().item() for p in flow.parameters() if p.grad is not None)
    assert largest[True] < 1e-12 < 1e-3 < largest[False]
    assert all(p.requires_grad for p in flow.parameters())


def test_path_gradients_have_the_mean_of_the_others():
    flow = randomised(pf.models.RealNVP(features=2, transforms=2, hidden=(4,)).build()).double()
    found = []
    for path_gradients in (False, True):
        objective = ReverseKL(flow, lambda x: normal(x - 0.5), path_gradients=path_gradients)
        loss = objective(torch.empty(100_000, 0), generator=keyed(0))[0]
        parameters = [p for p in flow.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        found.append(torch.cat([g.flatten() for g in gradients if g is not None]))
    torch.testing.assert_close(found[0], found[1], atol=0.02, rtol=0.02)  # four standard errors of the first


@pytest.mark.parametrize(("kind", "one_pass"), [("NSF", True), ("MAF", True), ("IAF", False), ("ResidualFlow", True)])
def test_which_flows_score_in_one_pass(kind, one_pass):
    assert scores_in_one_pass(getattr(pf.models, kind)(features=2).build()) == one_pass


KINDS = (
    "column",
    "one number",
    "complex numbers",
    "integers",
    "truth",
    *(kind for kind in REFUSED if "in place" in kind),
)


@pytest.mark.parametrize("kind", KINDS)
def test_importance_refuses_what_is_no_log_density_in_the_same_words(kind):
    with pytest.raises(ValueError, match=REFUSED[kind][1].replace("128", "50")):
        importance(model(), REFUSED[kind][0], 50)


def test_an_energy_may_not_change_its_context():
    flow, context = pf.models.MAF(features=2, context=2, hidden=(8,), transforms=1).build(), torch.randn(300, 2)
    with pytest.raises(ValueError, match="in place. Begin with"):
        pf.fit_density(flow, lambda x, c: normal(x - c.mul_(2)), context, steps=4)


@pytest.mark.parametrize("n", [1, 2, 20])
def test_few_draws_have_no_tail(n):
    found = importance(model(), normal, n)
    assert math.isnan(found.tail)
    assert str(found).endswith("unreliable: too few draws for a tail")
    assert math.isnan(found.standard_error) == (n == 1)


def test_equal_weights_have_no_tail():
    flow = pf.Flow(pf.transforms.Flip(), pf.bases.StandardNormal(2), event=(2,))
    found = importance(flow, flow.log_prob, 100)
    assert str(found).endswith("equal weights have no tail")
    assert found.reliable


@pytest.mark.parametrize("other", [0.0, -math.inf], ids=["others are equal", "others are zero"])
def test_the_tail_is_that_of_the_weights_above_the_others(other):
    """Most draws have one weight, as where a density is zero outside of a region: they say nothing of the tail."""
    for shape, count in ((0.3, 200), (1.25, 200), (1.25, 3)):
        u = torch.linspace(0.001, 0.999, count, dtype=torch.float64)
        weights = torch.cat([torch.full((10_000 - count,), other).double(), -shape * u.log()])
        found = Importance(torch.zeros(10_000, 1), weights)
        assert found.reliable == (shape == 0.3)
        assert math.isnan(found.tail) == (count == 3)


def test_a_bound_for_one_context_has_no_standard_error():
    flow = pf.models.MAF(features=2, context=1, hidden=(8,), transforms=1).build()
    found = pf.fit_density(flow, lambda x, c: normal(x - c), torch.zeros(1, 1), steps=2, progress=False)
    assert math.isnan(found.standard_error)

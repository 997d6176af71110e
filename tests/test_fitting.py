"""A flow from a table or from a density: it finds what is known, and says what it cannot use."""

from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.codecs import Identity
from pushforward.data import Arrays
from pushforward.evaluation import importance
from pushforward.fitting import embed, plan_for
from pushforward.models import BY_WORD
from pushforward.objectives import MaximumLikelihood
from pushforward.randomness import Keyed, keyed
from pushforward.runs.plotting import history
from pushforward.training import Checkpoints, Likelihood, Plan, ReverseKL, minimise
from tests.toys import randomised

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
    fitted = pf.fit(flow, gaussian(4000).numpy(), steps=300, lr=1e-2, progress=False)
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


def test_it_keeps_the_weights_it_starts_from_where_training_finds_no_better():
    """A posterior that is linear and Gaussian: the regression is right, and a few rows are learned by heart at once."""
    context = torch.randn(120, 3, generator=keyed(1))
    x = context + 0.5 * torch.randn(120, 3, generator=keyed(2))
    flow = pf.models.NSF(features=3, context=3, hidden=(32,)).build()
    fitted = pf.fit(flow, x, context, steps=60, measure_every=20, lr=3e-2, patience=1, weight_decay=0.0)
    assert (fitted.best_step, fitted.steps) == (0, 40)
    assert fitted.score > -3 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.5)) - 0.4
    assert torch.equal(flow.transform[1].factors, torch.zeros(3, 3))


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
    with pytest.warns(UserWarning, match="column 1 holds .*; column 2 holds .* give it the support Integers"):
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


def test_what_was_initialised_is_not_initialised_again():
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


def test_progress_is_on_stderr_and_names_what_it_shows(capsys):
    fitted = pf.fit(maf(), gaussian(200), steps=20)
    shown = capsys.readouterr()
    assert not shown.out
    assert re.match(r"step 2 of 20: training log p -[0-9.]+ nats, [0-9]+ s left\n", shown.err)
    pf.fit_density(maf(), banana, steps=20)
    assert "training bound on log Z " in capsys.readouterr().err
    for quiet in (
        lambda: pf.fit(maf(), gaussian(200), steps=20, progress=False),
        lambda: pf.fit_density(maf(), banana, steps=20, progress=False),
    ):
        quiet()
        assert capsys.readouterr() == ("", "")
    steps, training, held_out = zip(*fitted.history, strict=True)
    assert steps == tuple(range(1, 21)), "evaluated at each step"
    assert max(held_out) == fitted.score
    assert all(map(math.isfinite, training))


UNIFORM = torch.rand(500, 1, dtype=torch.float64, generator=keyed(5))
NSF1 = {"hidden": (8,), "transforms": 1, "autoregressive": True}
UNITS = {  # name -> a column of uniform events, and its supports
    "GPS seconds": (1126259462 + 0.2 * UNIFORM, None),
    "day numbers": (2460000.5 + 10 * UNIFORM, None),
    "tiny": (1e-60 * UNIFORM, None),
    "tiny, far from zero": (1e-57 + 1e-60 * UNIFORM, None),
    "huge": (1e60 * UNIFORM, None),
    "at the range's end": (1e-300 * UNIFORM, None),
    "in an interval": (1126259462 + 0.2 * UNIFORM, pf.transforms.Interval(1126259461, 1126259463)),
    "above an end": (1126259462 + 0.2 * UNIFORM, pf.transforms.Interval(1126259461.9)),
    "on a circle": (1126259462 + 0.2 * UNIFORM, pf.transforms.Circle(1126259462, 1126259462.2)),
    "large integers": ((20_000_001 + 9 * UNIFORM).floor(), pf.transforms.Integers(0)),
    "large integers, as integers": ((20_000_001 + 9 * UNIFORM).long(), pf.transforms.Integers(20_000_001, None)),
}


def one_column(support, **options) -> pf.Flow:
    supports = () if support is None else (support,)
    if isinstance(support, pf.transforms.Circle):
        return pf.models.CircularNSF(
            features=2, supports=(support, pf.transforms.Interval()), hidden=(8,), transforms=2
        ).build()
    return pf.models.NSF(features=1, supports=supports, **NSF1, **options).build()


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.filterwarnings("ignore:.*values that repeat")
def test_columns_are_fitted_in_any_units(name):
    """To 0.3 nats of their entropy after a few steps, and samples spread as the data do, in saved flows too."""
    x, support = UNITS[name]
    flow = one_column(support)
    if flow.event == (2,):
        x = torch.cat([x, UNIFORM.roll(1)], 1)
    fitted = pf.fit(flow, x, steps=20, lr=1e-2, progress=False)
    size = 9.0 if "integers" in name else (x[:, 0].max() - x[:, 0].min()).item()
    assert fitted.score + math.log(size) == pytest.approx(0, abs=0.4)
    torch.manual_seed(1)
    again = one_column(support)
    again.load_state_dict(flow.state_dict())
    for each in (flow, again, again.float(), copy.deepcopy(flow).double()):
        drawn = each.sample(1000, generator=keyed(0))
        assert drawn.dtype == torch.float64
        drawn = pf.codecs.codec_of(flow).decode(drawn)[:, 0]
        spread = drawn.quantile(0.84) - drawn.quantile(0.16)
        assert spread.item() == pytest.approx(0.68 * size, rel=0.5)
        assert len(drawn.unique()) > (5 if "integers" in name else 900)
        assert (drawn.median() - x[:, 0].double().median()).abs() < size


def test_rows_that_were_rounded_to_float32_are_told_of():
    """Where the flow learned what float32 does not hold, of events and of a context."""
    x, context = UNITS["GPS seconds"][0], 1126259462 + UNIFORM
    flow = pf.models.NSF(features=1, context=1, **NSF1).build()
    pf.fit(flow, x, context, steps=1, progress=False)
    for given in ((x.float(), context), (x, context.float())):
        with pytest.warns(UserWarning, match="float32, and the flow learned float64 values that float32 does not hold"):
            flow.log_prob(*given)
    assert flow.log_prob(x, context).isfinite().all()


def test_weights_may_be_of_any_size():
    x = gaussian(100)
    for scale in (1e-300, 1.0, 1.5e308):
        assert torch.equal(Arrays(x, weights=torch.full((100,), scale, dtype=torch.float64)).weights, torch.ones(100))


@pytest.mark.filterwarnings("ignore:column .*robust=True")
def test_data_that_float32_holds_stay_in_float32():
    for x in (gaussian(100), 1e6 * gaussian(100), torch.cat([gaussian(99), torch.full((1, 2), 1e12)]).double()):
        flow = maf()
        pf.fit(flow, x, steps=1, progress=False)
        assert flow.sample(1).dtype == torch.float32


@pytest.mark.filterwarnings("ignore:a MAF of one feature")
@pytest.mark.parametrize("kind", [torch.Tensor.clone, torch.Tensor.numpy], ids=["tensor", "numpy"])
def test_a_context_may_be_in_any_units(kind):
    flow, context = maf(features=1, context=1), 1126259462 + UNIFORM
    pf.fit(flow, 3 * UNIFORM + 0.1 * UNIFORM.roll(1), kind(context), steps=300, lr=1e-2, progress=False)
    drawn = flow.sample((100,), [[1126259462.0], [1126259463.0]]).mean(0)[:, 0]
    torch.testing.assert_close(drawn, torch.tensor([0.05, 3.05]), atol=0.1, rtol=0)
    means = [flow.sample((200,), [time], generator=keyed(0)).mean() for time in (1126259462, 1126259463)]
    assert (means[1] - means[0]).item() == pytest.approx(3, abs=0.2)


def overflowing(after: int):
    """A training whose loss is not finite from the first evaluation after so many steps."""

    def forward(self, *given):
        loss, logs = Likelihood.forward(self, *given)
        self.calls = getattr(self, "calls", 0) + 1
        return loss if self.calls <= after else loss * math.inf, logs

    return type("Overflowing", (Likelihood,), {"forward": forward})


def interrupted(after: int):
    def forward(self, *given):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > after:
            raise KeyboardInterrupt
        return Likelihood.forward(self, *given)

    return type("Interrupted", (Likelihood,), {"forward": forward})


def test_a_training_that_overflows_late_or_is_interrupted_keeps_the_best_weights(monkeypatch, capsys):
    x, plan = gaussian(200), {"steps": 40, "measure_every": 2, "lr": 1e-2, "average_decay": 0.0, "progress": False}
    whole, late, stopped = maf(), maf(), maf()
    held_out = x[torch.randperm(200, generator=keyed(0))[:20]].float()
    pf.fit(whole, x, **plan)
    monkeypatch.setattr("pushforward.objectives.objective.Likelihood", overflowing(21))
    with pytest.warns(RuntimeWarning, match=r"overflowed and ended: step 21: .*has the best weights so far, those of"):
        fitted = pf.fit(late, x, **plan)
    assert (fitted.stopped, fitted.steps) == ("overflowed", 21)
    assert not late.training
    assert late.log_prob(held_out).mean().item() == pytest.approx(fitted.score, abs=1e-5)
    monkeypatch.setattr("pushforward.objectives.objective.Likelihood", interrupted(21))
    with pytest.raises(KeyboardInterrupt):
        pf.fit(stopped, x, **plan)
    assert "interrupted after step 21. The flow has the best weights so far" in capsys.readouterr().err
    assert not stopped.training
    assert torch.equal(weights_of(stopped), weights_of(late))
    monkeypatch.setattr("pushforward.objectives.objective.Likelihood", overflowing(1))
    with pytest.raises(FloatingPointError, match="step 1: loss inf"):
        pf.fit(late, x, **plan)
    assert not late.training


def test_a_density_that_overflows_late_keeps_the_best_weights():
    calls = []

    def late(x):
        calls.append(None)
        return banana(x) * (math.inf if len(calls) > 20 and x.requires_grad else 1.0)

    flow = maf()
    with pytest.warns(RuntimeWarning, match="overflowed and ended"):
        fitted = pf.fit_density(flow, late, steps=40, measure_every=2, progress=False)
    assert fitted.stopped == "overflowed"
    assert not flow.training


def masked(x: Tensor) -> np.ma.MaskedArray:
    return np.ma.masked_array(x.numpy(), mask=(np.arange(len(x)) == 3)[:, None] | np.zeros(x.shape, bool))


@pytest.mark.parametrize(
    "door",
    [
        lambda rows: pf.fit(maf(), rows),
        lambda rows: pf.fit(maf(context=2), X, rows),
        lambda rows: pf.fit(maf(), X, weights=rows[:, 0]),
        lambda rows: maf(context=2).log_prob(X.float(), rows),
        lambda rows: maf(context=2).sample((), rows),
        lambda rows: maf(context=2).sample((), list(rows)),
        lambda rows: pf.fit_density(maf(context=2), lambda x, _: banana(x), rows),
        lambda rows: maf(classes=9).sample((), rows[:, 0].astype(int)),
        lambda rows: Arrays(rows),
    ],
)
def test_masked_entries_are_refused_at_every_door(door):
    with pytest.raises(ValueError, match=r"masked array, and [12] of its entries are masked, in 1 rows, .* row [03]"):
        door(masked(X))


def test_arrays_of_every_kind_are_taken():
    x = gaussian(40).numpy()
    for kind in (
        x.astype(">f8"),
        np.asfortranarray(x),
        x[::-1][::-1],
        np.ma.masked_array(x),
        x.astype(np.longdouble),
        x.tolist(),
    ):
        flow = maf()
        pf.fit(flow, kind, steps=1, progress=False)
        assert torch.equal(weights_of(flow), weights_of(FITTED))
    with pytest.raises(ValueError, match="x holds 'a' in row 0, column 1, which is no number"):
        pf.fit(maf(), np.array([[1, "a"]], dtype=object))
    with pytest.raises(ValueError, match="x holds 'a', and a flow takes numbers"):
        pf.fit(maf(), [["a", "b"]])


N = 2000
REAL = torch.randn(N, generator=keyed(7), dtype=torch.float64)
COUNTS = torch.poisson(torch.full((N,), 3.0), keyed(8)).double()
SUSPECTS = {  # name -> a column, and what is told of it
    "half zeros": (torch.where(REAL > 0, REAL, 0), r"holds 0 in [45][0-9.]+% of the rows.*dequantise"),
    "an atom beside": (torch.where(REAL > 1.5, 1.5, REAL), r"holds 1.5 in [67]\.[0-9]% of the rows"),
    "ages": ((40 + 15 * REAL).round(), r"holds .* and [0-9]+ values in all: .* the support Integers"),
    "counts": (COUNTS, r"holds [23] in .*% of the rows, .* the support Integers"),
    "bytes": ((256 * torch.rand(N, generator=keyed(9))).floor(), "holds 25[0-9] values in 2,000 rows, .*Integers"),
    "rounded": ((20 * REAL).round(decimals=1), r"holds [0-9]+ values in 2,000 rows, .*dequantise"),
    "a constant": (torch.full((N,), 0.1), "holds 0.1[0-9]* in all rows: leave it out"),
    "rounded to one value": ((1126259462 + REAL / 100).float(), "holds .*float32 rounded it"),
    "far rows": (torch.where(torch.arange(N) % 1000 == 5, 1e6 * REAL, REAL), r"0.10% of the rows lie .*robust=True"),
}


@pytest.mark.parametrize("name", SUSPECTS)
def test_columns_that_a_density_does_not_suit_are_named(name):
    column, told = SUSPECTS[name]
    x = torch.stack([REAL, column], 1).to(column.dtype)
    with pytest.warns(UserWarning, match=f"^column 1:? {told}"):
        pf.fit(maf(), x, steps=1, progress=False)
    pandas = pytest.importorskip("pandas")
    with pytest.warns(UserWarning, match=f"^column age:? {told}"):
        pf.fit(maf(), pandas.DataFrame(x.numpy(), columns=["real", "age"]), steps=1, progress=False)


BOUND = {  # name -> columns, and those that determine each other
    "a multiple": ([REAL, REAL.roll(1), 1000 - 2 * REAL], "0, 2"),
    "a sum": ([REAL, REAL.roll(1), REAL + REAL.roll(1), REAL.roll(2)], "0, 1, 2"),
    "shares": (list(torch.stack([REAL.roll(i).exp() for i in range(7)]).softmax(0)), "0, 1, 2, 3, 4 and 2 more"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BOUND)
def test_columns_that_determine_each_other_are_named(name, dtype):
    columns, told = BOUND[name]
    x = torch.stack(columns, 1).to(dtype)
    with pytest.warns(UserWarning, match=f"^columns {told} determine each other.*A density has no limit on a surface"):
        pf.fit(maf(features=len(columns)), x, steps=1, progress=False)
    pf.fit(maf(features=len(columns)), x + 1e-3 * torch.rand(x.shape, generator=keyed(1)), steps=1, progress=False)


def test_far_rows_are_told_of_where_they_set_the_unit():
    """In a context too; not where units are robust, which is the remedy."""
    x, far = torch.stack([REAL, REAL.roll(1)], 1), SUSPECTS["far rows"][0][:, None]
    with pytest.warns(UserWarning, match=r"^column 0 of the context: 0.10% of the rows lie .*robust=True"):
        pf.fit(maf(context=1), x, far, steps=1, progress=False)
    pf.fit(maf(context=1, robust=True), x, far, steps=1, progress=False)
    pf.fit(maf(robust=True), torch.cat([x[:, :1], far], 1), steps=1, progress=False)


def test_columns_that_a_density_suits_are_not_told_of():
    heavy, positive = REAL / REAL.roll(1), (2 * REAL).exp()
    pf.fit(maf(), torch.stack([heavy, positive], 1), steps=1, progress=False)
    supports = (pf.transforms.Integers(0), pf.transforms.Interval(0))
    x = torch.stack([COUNTS, torch.where(torch.arange(N) % 1000 == 5, 1e6, 1) * positive], 1)
    pf.fit(maf(supports=supports), x, steps=1, progress=False)
    x = torch.stack([1e6 + 100 * REAL.roll(1), REAL, REAL + 0.002 * REAL.roll(2)], 1)  # rounding is that of one column
    pf.fit(maf(features=3), x.float(), steps=1, progress=False)


def test_robust_units_are_those_of_most_rows():
    x, far = torch.stack([REAL, 5 + REAL.roll(1)], 1), torch.arange(N) % 1000 == 5
    flows = [pf.models.MAF(features=2, context=2, hidden=(8,), robust=robust).build() for robust in (True, False)]
    for flow in flows:
        flow.initialize(torch.where(far[:, None], 1e6 * x, x).float(), torch.where(far[:, None], 1e6 * x, x).float())
    units = flows[0].transform[0], flows[0].transform[1].net.layers.context_encoder.units
    for each in units:
        torch.testing.assert_close(each.log_scale, torch.zeros(2), atol=0.1, rtol=0)
        torch.testing.assert_close(each.shift, torch.tensor([0.0, 5.0]), atol=0.1, rtol=0)
    assert (flows[1].transform[0].log_scale > 9).all()


@pytest.mark.parametrize("name", ["verbose", "epochs", "learning_rate", "patence"])
def test_options_of_other_names_are_answered(name):
    meant = {"verbose": "progress", "epochs": "steps", "learning_rate": "lr", "patence": "patience"}[name]
    for call in (lambda **options: pf.fit(maf(), X, **options), lambda **o: pf.fit_density(maf(), banana, **o)):
        with pytest.raises(TypeError, match=f"a fit has no option '{name}': it is called {meant}"):
            call(**{name: 1})


@pytest.mark.parametrize(
    ("rows", "steps", "weight_decay"),
    [(50, 2000, 3.0), (700, 2000, 1.0), (20_000, 7812, 0.001225), (10**6, 10_000, 1e-4)],
)
def test_the_plan_of_a_fit_suits_the_number_of_rows(rows, steps, weight_decay):
    plan = plan_for(rows)
    assert (plan.steps, plan.weight_decay) == (steps, pytest.approx(weight_decay))
    assert plan.steps // plan.measure_every == 50
    assert plan_for(rows, steps=5, weight_decay=0.5).weight_decay == 0.5


def test_the_history_says_whether_a_fit_was_at_its_end():
    short = pf.fit(maf(), gaussian(500), steps=20, average_decay=0.0, progress=False)
    assert short.improving
    assert str(short).endswith("; still improving: raise steps")
    pytest.importorskip("matplotlib")
    axes = pf.evaluation.plot_history(short.history).axes[0]
    assert len(axes.lines[0].get_xdata()) == len(axes.lines[1].get_xdata()) == 20
    with pytest.raises(ValueError, match="no history"):
        pf.evaluation.plot_history(())


@pytest.mark.parametrize(
    ("unit", "held_out", "named", "signs"),
    [
        ("nats", "nats", ("log p, nats", "log p, nats"), (-1, -1)),
        ("bits/dim", "bits/dim", ("bits/dim", "bits/dim"), (1, 1)),
        ("squared error", "nats", ("squared error", "log p, nats"), (1, -1)),  # of flow matching
        ("nats/dim", "bits/dim", ("nats/dim", "bits/dim"), (1, 1)),
    ],
)
def test_held_out_scores_of_another_unit_are_shown_too(unit, held_out, named, signs):
    pytest.importorskip("matplotlib")
    lines = [{"step": step, unit: 2.0, "loss": 0.1, "gradient": 1.0, "lr": 0.1} for step in (1, 2)]
    lines[1][f"held-out {held_out}"] = 3.0
    curves = history(lines)
    assert curves.scores[0] == (1, 2 * signs[0], None)
    assert curves.scores[1][2] == 3 * signs[1]
    assert (curves.name, curves.held_out) == named
    figure = pf.evaluation.plot_history(curves.scores, name=curves.name, held_out=curves.held_out)
    assert [axes.get_ylabel() for axes in figure.axes] == [named[0], f"held-out {named[1]}"][
        : 1 + (named[0] != named[1])
    ]
    assert figure.axes[-1].lines[-1].get_ydata() == [3 * signs[1]]


@pytest.mark.filterwarnings("ignore:a MAF of one feature")
def test_an_embedding_is_trained_with_the_flow_and_belongs_to_it():
    """Events are a mean of series whose units are far from standardised."""
    y = 2 * torch.rand(1000, 1, generator=keyed(1)) - 1
    series = 1e5 + 50 * (y[:, :, None] + 0.3 * torch.randn(1000, 10, 3, generator=keyed(2)))

    def net():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(30, 4))

    flow, embedding = maf(features=1, context=4), net()
    before = embedding[1].weight.clone()
    fitted = pf.fit(flow, y, series, embedding=embedding, steps=200, lr=1e-2, progress=False)
    assert fitted.score > 0.7, "a standard deviation of 0.3 / √30 and little more"
    assert not torch.equal(embedding[1].weight, before)
    assert flow.sample((2,), series[:3]).shape == (2, 3, 1)
    one = flow.log_prob(y[:3], series[0])
    torch.testing.assert_close(one, flow.log_prob(y[:3], series[:1].expand(3, -1, -1)))
    torch.testing.assert_close(flow(series[:3]).log_prob(y[:3]), flow.log_prob(y[:3], series[:3]))
    assert flow.denoise(y[:3], 0.1, series[:3]).shape == (3, 1)
    again = maf(features=1, context=4)
    pf.fit(again, y, series, embedding=net(), steps=1, progress=False)
    again.load_state_dict(flow.state_dict())
    torch.testing.assert_close(again.log_prob(y[:3], series[:3]), flow.log_prob(y[:3], series[:3]))
    with pytest.raises(ValueError, match=r"this flow takes valuess? of shape \(batch, 10, 3\)"):
        flow.log_prob(y[:3], series[:3, 0])
    with pytest.raises(ValueError, match="has no embedding yet"):
        pf.fit(flow, y, series, embedding=net())
    with pytest.raises(ValueError, match=r"vectors of shape \(batch, 5\); the embedding gives \(4,\)"):
        pf.fit(maf(features=1, context=5), y, series, embedding=net())


@pytest.mark.parametrize("word", BY_WORD)
def test_every_objective_reads_the_embedding_and_trains_it(word):
    """Its loss is that of the flow without one, given what the embedding makes of the same contexts."""
    flow = randomised(BY_WORD[word](features=2, context=3).small().build())
    plain, net = copy.deepcopy(flow), torch.nn.Linear(3, 3)
    y, given = torch.rand(8, 5, generator=keyed(1)).split((2, 3), 1)
    embed(flow, net, given)
    config = flow.objective or MaximumLikelihood()
    loss = config.build(flow, Identity())(y, given, keyed(2))[0]
    vectors = flow.embedded(flow.context(given))["vector"].value.detach()
    torch.testing.assert_close(loss, config.build(plain, Identity())(y, vectors, keyed(2))[0])
    loss.backward()
    assert net.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("word", ["maf", "flowmatching"])
def test_what_guidance_moves_away_from_is_embedded_too(word):
    flow, (given, away) = randomised(BY_WORD[word](features=2, context=3).small().build()), torch.rand(2, 4, 5)
    plain = copy.deepcopy(flow)
    embed(flow, torch.nn.Linear(5, 3), given)
    vectors, null = (flow.embedded(flow.context(rows))["vector"].value for rows in (given, away))
    guided = flow.guided(1.0, conditions={"vector": away})
    expected = plain.guided(1.0, conditions={"vector": null}).log_prob(X[:4], vectors)
    torch.testing.assert_close(guided.log_prob(X[:4], given), expected)


@pytest.mark.parametrize("named", [False, True])
def test_an_embedding_may_have_a_batch_norm_and_is_a_module(named):
    net = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3))
    flow, series = maf(context=3), torch.randn(40, 5)
    pf.fit(flow, X, {"vector": series} if named else series, embedding=net, steps=2, progress=False)
    assert flow.sample(2, series[0]).shape == (2, 2)
    with pytest.raises(TypeError, match="an embedding is a torch.nn.Module"):
        pf.fit(maf(context=3), X, series, embedding=torch.nn.Flatten)  # pyright: ignore[reportArgumentType]


X = gaussian(40)
FITTED = maf()
pf.fit(FITTED, X, steps=1, progress=False)
NET = torch.nn.Linear(5, 2)
SUPPORTS = (pf.transforms.Interval(0), pf.transforms.Integers(-6, -4))
HOLED = X.index_fill(0, torch.tensor([3, 7]), math.nan)


def backwards() -> pf.Flow:
    return pf.Flow(pf.Inverse(maf().transform), pf.bases.StandardNormal(2), event=(2,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pf.fit(maf(), HOLED), "rows 3, 7 of the events hold values that are not finite"),
        (lambda: pf.fit(maf(), X[:, :1]), r"of shape \(n, 2\).*; x has shape \(40, 1\)"),
        (lambda: pf.fit(maf(), X[:, 0]), r"these have \(40,\)"),
        (lambda: pf.fit(maf(), X.long()), "takes real events; x is torch.int64"),
        (lambda: pf.fit(maf(), X, X), "this flow is unconditional"),
        (lambda: pf.fit(maf(context=2), X), "this flow is conditional"),
        (lambda: pf.fit(maf(context=2), X, X[:3]), "one row of context for each of 40 events"),
        (lambda: pf.fit(maf(context=2), X, HOLED), "rows 3, 7 of the context hold"),
        (lambda: pf.fit(maf(classes=2), X, 0 * X[:, :1].long()), r"\(36, 1\), and x has .* column as context\[:, 0\]"),
        (lambda: pf.fit(maf(context=2), X, embedding=NET), "this flow is conditional"),
        (lambda: pf.fit(maf(context=2), X, X, embedding=NET), r"the embedding fails on \(2, 2\), .* cannot be multip"),
        (
            lambda: pf.fit(maf(context=2), X, {"label": X}, embedding=NET),
            "takes the conditions vector: .*; got 'label'",
        ),
        (lambda: pf.fit(backwards(), X), "no data reached ActNorm: .* Inside of an Inverse"),
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
        (lambda: pf.fit(maf(supports=SUPPORTS), X[:, :1]), r"of shape \(n, 2\).*; x has shape \(40, 1\)"),
        (lambda: pf.fit(maf(), X[:, 0]), r"these have \(40,\). Give those of one feature as x\[:, None\]"),
        (lambda: importance(maf(), banana, n=1e3), "n is an integer.*got 1000.0"),
        (lambda: pf.fit(maf(), X[:, None]), r"x has shape \(40, 1, 2\)"),
        (lambda: pf.fit(maf(), X, validation=1.0), "of at least 0 and below 1; got 1.0"),
        (lambda: pf.fit(maf(), X, patience=0), "patience is at least 1; got 0"),
        (lambda: pf.fit(maf(), X, measure_every=0), "measure_every"),
        (lambda: pf.fit(maf(), X, measure_every=0, patience=0), "at least 1; got 0"),
        (lambda: pf.fit_density(maf(), banana, measure_every=0), "measure_every"),
        (lambda: pf.fit_density(maf(), banana, measure_every=0, patience=0), "patience is at least 1; got 0"),
        (lambda: pf.fit(maf(), X, steps=0), "steps is a finite number of at least 1"),
        (lambda: pf.fit_density(maf(), lambda x: x), r"a tensor \(128,\); it returned shape \(128, 2\)"),
        (lambda: importance(maf(), lambda _: 0.0), r"a tensor \(1000,\); it returned float"),
        (lambda: importance(maf(), lambda x: x[:, 0].log()), "NaN or infinite at [0-9]+ of 10000 draws"),
        (lambda: importance(maf(), lambda x: x[:, 0] * 0 - math.inf), "−inf at all 10000 draws"),
        (lambda: importance(maf(), lambda x: x[:, 0], n=0), "one draw or more, in batches of one or more; got n=0"),
    ],
)
def test_what_cannot_be_used_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_arguments_of_another_kind_are_refused():
    with pytest.raises(TypeError, match=r"log_density is a function of events; got a Tensor. For rows: pf.fit"):
        pf.fit_density(maf(), X)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"anneal takes training.Annealing\(width\).*got 5.0"):
        pf.fit_density(maf(), banana, anneal=5.0)  # pyright: ignore[reportArgumentType]


def test_a_batch_is_at_most_all_rows(monkeypatch):
    made = []
    monkeypatch.setattr(pf.fitting, "begin", lambda _, data, plan: made.append((plan.batch, len(data))) or 1 / 0)
    for given, rows in ((10**9, 36), (20, 20)):
        with pytest.raises(ZeroDivisionError):
            pf.fit(maf(), X, batch=given)
        assert made.pop() == (rows, 36)


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
    with pytest.warns(RuntimeWarning, match="50.0% in step 3 Coupling"):
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

"""Ranks and coverage of posteriors that are exact, too sure, or biased; telling two sets apart; the plots."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.conditions import Vector
from pushforward.evaluation import Calibration, c2st, check_calibration, plot_corner, plot_coverage, plot_ranks
from tests.toys import vector


class Posterior(pf.Transform):
    """Of theta ~ N(0, I) and x = theta + noise/2, the posterior N(0.8 x, 0.2 I); or what is not quite it."""

    def __init__(self, width: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.deviation, self.bias = width * 0.2**0.5, bias

    def forward(self, x, context=None):
        z = (x - 0.8 * context["vector"].value - self.bias) / self.deviation
        return z, -torch.full((len(x),), self.deviation).log() * x.shape[1]

    def inverse(self, z, context=None):
        x = z * self.deviation + 0.8 * context["vector"].value + self.bias
        return x, torch.full((len(z),), self.deviation).log() * z.shape[1]


class Rounded(pf.Transform):
    """A sampler of whole numbers, of which each element has three."""

    def forward(self, x, context=None):
        return x, x.new_zeros(len(x))

    def inverse(self, z, context=None):
        return (z / 3).round(), z.new_zeros(len(z))


def calibration(events: int = 1000, **wrong) -> Calibration:
    flow = pf.Flow(Posterior(**wrong), pf.bases.StandardNormal(3), event=(3,), conditions={"vector": Vector(3)})
    theta = torch.randn(events, 3)
    return check_calibration(flow, theta, theta + 0.5 * torch.randn(events, 3), batch=100)


def test_an_exact_posterior_is_calibrated():
    exact = calibration()
    assert exact.ranks.shape == (1000, 3)
    assert exact.ranks.min() == 0
    assert exact.ranks.max() == exact.draws == 99
    assert (exact.p_values() > 0.01).all()
    for content in (0.1, 0.5, 0.9):
        assert abs(exact.coverage(content) - content) < 3 * (content * (1 - content) / 1000) ** 0.5


@pytest.mark.parametrize(("width", "covered"), [(0.5, 0.102), (2.0, 0.976)], ids=["too sure", "not sure enough"])
def test_a_wrong_width_shows_in_the_coverage_and_the_ranks(width, covered):
    """A region of content 1/2 is |z|² < 2.366, of three degrees of freedom, and the true z is |z| / width."""
    wrong = calibration(width=width)
    assert abs(wrong.coverage(0.5) - covered) < 0.03
    assert (wrong.p_values() < 1e-6).all()
    assert "p = " in str(wrong)


def test_a_bias_shows_as_a_slope():
    counted, expected = calibration(bias=0.2).histogram(4)
    assert (counted[:, 0] > 1.3 * expected[0]).all()
    assert (counted[:, -1] < 0.8 * expected[-1]).all()


def test_a_density_that_is_constant_is_calibrated():
    """Equal densities, and equal elements, are ranked at random."""
    flow = pf.Flow(pf.transforms.Flip(), pf.bases.UniformAngle(2), event=(2,))
    found = check_calibration(flow, flow.sample(1000), draws=19, batch=1000)
    assert abs(found.coverage(0.5) - 0.5) < 0.05
    assert (found.p_values() > 1e-3).all()
    rounded = flow.with_transform(Rounded())
    assert (check_calibration(rounded, rounded.sample(1000), draws=19, batch=1000).p_values() > 1e-3).all()


def test_draws_do_not_depend_on_the_batch():
    flow, theta, x = vector(3, context=2), torch.randn(7, 3), torch.randn(7, 2)
    one, two = (check_calibration(flow, theta, x, draws=9, batch=batch) for batch in (2, 7))
    assert torch.equal(one.ranks, two.ranks)
    assert torch.equal(one.density_ranks, two.density_ranks)
    other = check_calibration(flow, theta, x, draws=9, seed=1)
    assert not torch.equal(one.ranks, other.ranks)
    assert check_calibration(vector(3), theta, draws=9).ranks.shape == (7, 3)


def test_bins_that_do_not_divide_the_ranks_are_expected_to_hold_what_they_do():
    ranks = torch.arange(10)
    counted, expected = Calibration(ranks[:, None], ranks, draws=9).histogram(4)
    torch.testing.assert_close(counted[0], expected)
    with pytest.raises(ValueError, match="from 2 to 10 bins; got bins=11"):
        Calibration(ranks[:, None], ranks, draws=9).histogram(11)


@pytest.mark.parametrize(
    ("draws", "told"), [(1, "50% cover 50.0%"), (9, "50%, 90% cover 50.0%, 90.0%"), (24, "48%, 88%, 96% cover 48.0%")]
)
def test_regions_have_the_contents_that_draws_tell(draws, told):
    even = torch.arange(draws + 1).repeat(30)
    assert str(Calibration(even[:, None], even, draws)).startswith(f"regions of {told}")
    with pytest.raises(ValueError, match="content is a finite number of at least 0 and at most 1; got 95"):
        Calibration(even[:, None], even, draws).coverage(95)


def test_what_cannot_be_ranked_is_refused():
    for events, draws in ((0, 9), (3, 0)):
        with pytest.raises(ValueError, match=f"got {events} and draws={draws}"):
            check_calibration(vector(2), torch.zeros(events, 2), draws=draws)
    assert "1 draws" in str(check_calibration(vector(2), torch.zeros(3, 2), draws=1))


def test_a_density_that_is_not_a_number_is_named():
    theta = torch.zeros(3, 2)
    theta[1] = torch.nan
    with pytest.raises(FloatingPointError, match="density of event 1"):
        check_calibration(vector(2), theta, draws=9)


def test_c2st_is_a_half_for_equal_sets_and_one_for_different_ones():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    x, y = torch.randn(2, 300, 2)
    assert abs(c2st(x, y, folds=2) - 0.5) < 0.07
    assert c2st(1e3 * x, 1e3 * (y + 6), folds=2) > 0.99
    assert 0.6 < c2st(x, y + 1, folds=2) < 0.85  # the best classifier is right with probability Φ(√2/2) = 0.76
    with pytest.raises(ValueError, match="give as many of each"):
        c2st(x, y[:100])


def test_the_plots_hold_what_was_counted(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    wrong = calibration(200, width=0.5)
    figure = plot_ranks(wrong, ["a", "b", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    bars = figure.axes[1].patches[-1].get_data().values
    assert list(bars) == wrong.histogram()[0][1].tolist()
    figure.savefig(tmp_path / "ranks.png")
    (curve,) = plot_coverage(wrong).axes[0].lines
    assert curve.get_ydata()[50] == wrong.coverage(0.5)
    with pytest.raises(ValueError, match="a name for each of 3 elements, or none; got 2"):
        plot_ranks(wrong, ["a", "b"])


def test_a_corner_plot_shows_constants_and_takes_names_as_arrays(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    x = torch.randn(20, 2)
    x[:, 1], x[0, 0] = 3.0, torch.nan
    figure = plot_corner(x, x[1:2], names=np.array(["a", "b"]))
    assert [axes.get_xlim() for axes in figure.axes][-1] == (2.5, 3.5)
    assert figure.axes[1].get_xlabel() == "a"
    figure.savefig(tmp_path / "corner.png")
    for samples, data in ((x[:0], x), (x[:1], None), (x[:, 0], None), (x, x[:, :1])):
        with pytest.raises(ValueError, match="some rows of each finite; got"):
            plot_corner(samples, data)


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("matplotlib.figure", lambda: plot_coverage(Calibration(torch.zeros(1, 1), torch.zeros(1), 9))),
        ("sklearn.model_selection", lambda: c2st(torch.zeros(9, 1), torch.zeros(9, 1))),
    ],
)
def test_a_missing_package_is_named_with_its_extra(package, call, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pushforward\["):
        call()

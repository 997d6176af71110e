"""Flows inside scikit-learn: its own checks of estimators, pipelines and searches."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.transforms import Integers, Interval

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

FlowDensity = pf.interop.sklearn.FlowDensity
SMALL = partial(pf.models.NSF, autoregressive=True, hidden=(8,), transforms=1)


@pytest.mark.filterwarnings("ignore::UserWarning")  # some checks have columns that repeat values
@parametrize_with_checks([FlowDensity(SMALL, steps=10, random_state=0)])
def test_scikit_learn_finds_no_fault(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Normal, of mean 3 and deviation 2 in both features."""
    return np.random.default_rng(0).normal(3, 2, size=(1000, 2))


def test_the_density_is_that_of_the_rows(rows):
    x = np.random.default_rng(1).normal(3, 2, size=(1000, 2))
    true = -((x - 3) ** 2 / 8 + np.log(2 * np.sqrt(2 * np.pi))).sum(1)
    fitted = FlowDensity(pf.models.MAF, steps=200, random_state=0).fit(rows)
    assert fitted.score(x) == pytest.approx(true.mean(), abs=0.05)
    assert fitted.score_samples(x) == pytest.approx(fitted.flow_.log_prob(torch.from_numpy(x)).detach().numpy())
    assert fitted.sample(2000, random_state=0).mean(0) == pytest.approx([3, 3], abs=0.3)


def test_arrays_that_cannot_be_written_are_read(rows):
    fitted, kept = FlowDensity(steps=2, random_state=0).fit(rows), rows.copy()
    kept.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(fitted.score_samples(kept), fitted.score_samples(rows))


def test_weights_choose_rows(rows):
    right = rows[:, 0] > 3
    fitted = FlowDensity(pf.models.MAF, steps=200, random_state=0).fit(rows, sample_weight=right)
    assert fitted.score(rows[right]) > fitted.score(rows[~right]) + 1


def test_a_state_gives_the_same_density(rows):
    scores = [FlowDensity(SMALL, steps=10, random_state=state).fit(rows).score(rows) for state in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


def test_supports_hold_and_integers_are_integers(rows):
    x = np.stack([rows[:, 0] ** 2, np.arange(len(rows)) % 3], 1)
    fitted = FlowDensity(partial(SMALL, supports=(Interval(0), Integers(0, 2))), steps=10).fit(x)
    drawn = fitted.sample(100)
    assert (drawn[:, 0] >= 0).all()
    assert set(drawn[:, 1]) <= {0, 1, 2}


def test_pipelines_and_searches(rows):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), FlowDensity(SMALL, random_state=0)),
        {"flowdensity__steps": [1, 100]},
        cv=2,
    )
    assert search.fit(rows).best_params_ == {"flowdensity__steps": 100}
    assert search.score(rows) > search.best_score_ - 0.5

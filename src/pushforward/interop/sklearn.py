"""Flows as density estimators of scikit-learn: in pipelines, cross-validation and searches.

    flow = FlowDensity().fit(x)                                          x (n, features), an array or a DataFrame
    flow.score_samples(x), flow.sample(5)                                log p in nats, (n,); draws (5, features)
    GridSearchCV(FlowDensity(), {"model": [MAF, FlowMatching], "lr": [1e-3, 3e-3]})

A transformer before it in a pipeline changes the units: densities are then those of what it returns.

Written for scikit-learn 1.6.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from pushforward.arrays import as_tensor
from pushforward.codecs import CodedFlow, codec_of
from pushforward.evaluation import held_out
from pushforward.fitting import fit
from pushforward.models import NSF, VectorModel
from pushforward.models.model import check_class
from pushforward.randomness import keyed, seeded

SPLINES = partial(NSF, autoregressive=True)  # of one feature or more
LARGEST = 2**31  # of seeds


class FlowDensity(DensityMixin, BaseEstimator):
    """The density of rows, by a flow, with the methods of scikit-learn's `KernelDensity`.

    `model` is a class of `pushforward.models`, or a partial of one, and is called with the number of features. `steps`
    and `lr` are those of `pushforward.fit`, which chooses them where they are None. `random_state` decides the initial
    weights, the order of rows and what is held out. After `fit`, `flow_` is the `Flow`, and `fit_` says how training
    went.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> FlowDensity(steps=50, random_state=0).fit(x).sample(3).shape
    (3, 2)
    """

    def __init__(
        self,
        model: Callable[..., VectorModel] = SPLINES,
        *,
        steps: int | None = None,
        lr: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.model, self.steps, self.lr, self.random_state = model, steps, lr, random_state

    def fit(self, X: Any, y: None = None, sample_weight: Any = None) -> FlowDensity:  # noqa: N803
        """Fit to rows X (n, features), which `sample_weight` (n,) weights. Raises ValueError as `pushforward.fit`."""
        check_class(self.model)
        x = self._rows(X, ensure_min_samples=2)
        seed = _seed(self.random_state)
        with seeded(seed):
            flow = self.model(features=x.shape[1]).build()
        changes: dict[str, Any] = {"steps": self.steps, "lr": self.lr}
        chosen = {name: value for name, value in changes.items() if value is not None}
        self.fit_ = fit(flow, x, weights=sample_weight, progress=False, seed=seed, **chosen)
        self.flow_ = flow
        return self

    def score_samples(self, X: Any) -> np.ndarray:  # noqa: N803
        """log p of each row in nats, (n,); a lower bound on it where features are integers."""
        check_is_fitted(self)
        return held_out(self._coded, as_tensor(self._rows(X, reset=False))).double().numpy()

    def score(self, X: Any, y: None = None) -> float:  # noqa: N803  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mean of log p over rows, in nats: what a search maximises."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draws (n_samples, features)."""
        check_is_fitted(self)
        x = self.flow_.sample(n_samples, generator=keyed(_seed(random_state)))
        return self._coded.codec.decode(x).numpy()

    def _rows(self, X: Any, **options: Any) -> np.ndarray:  # noqa: N803
        """X as scikit-learn checks it: (n, features), finite, in float64."""
        return np.asarray(validate_data(self, X, dtype=np.float64, **options))

    @property
    def _coded(self) -> CodedFlow:
        return CodedFlow(self.flow_, codec_of(self.flow_))


def _seed(random_state: int | np.random.RandomState | None) -> int:
    return int(check_random_state(random_state).randint(LARGEST))

"""The estimator of sbi that learns by flow matching: `interop.sbi.estimator` of a model that does.

Written for sbi 0.27, which is imported here.
"""

from __future__ import annotations

from sbi.neural_nets.estimators import ZukoFlow
from torch import Tensor

from pushforward.codecs import Identity
from pushforward.objectives import VelocityRegression
from pushforward.randomness import keyed


class MatchedFlow(ZukoFlow):
    """A flow whose loss in sbi's training is the squared error of its velocity; it scores and samples by its solver.

    In evaluation its times and noise are the same in every epoch: sbi compares losses to end a training.
    """

    def loss(self, input: Tensor, condition: Tensor) -> Tensor:  # noqa: A002
        """The error of each row, (batch,), at random times: events (batch, *event) and conditions (batch, *shape)."""
        flow = self.net
        objective = flow.objective.build(flow, Identity())  # pyright: ignore
        assert isinstance(objective, VelocityRegression)
        return objective.errors(input, self.embedding_net(condition), None if self.training else keyed(0))

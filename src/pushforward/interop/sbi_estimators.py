"""The estimators of sbi that `interop.sbi.estimator` builds.

Written for sbi 0.27, which is imported here.
"""

from typing import Any

from sbi.neural_nets.estimators import ZukoFlow
from torch import Tensor

from pushforward.codecs import Identity
from pushforward.objectives import VelocityRegression
from pushforward.randomness import keyed


class FlowEstimator(ZukoFlow):
    """A density estimator. Trainers of other kinds of networks are told so when they first call it."""

    def forward(self, *_: Any) -> Tensor:
        raise TypeError(
            "sbi's NRE trains classifiers of pairs, and a flow is a density: give its estimator to NPE or NLE."
        )

    def log_prob(self, input: Tensor, condition: Tensor) -> Tensor:  # noqa: A002
        if input.dim() == 1 + len(self.input_shape) and len(condition) not in (1, len(input)):
            raise TypeError(
                f"{len(input)} events and {len(condition)} conditions are no pairs. sbi's FMPE and NPSE ask so, which "
                "train networks of their own: for flow matching give estimator(pf.models.FlowMatching) to NPE."
            )
        return super().log_prob(input, condition)


class MatchedFlow(FlowEstimator):
    """A flow whose loss in sbi's training is the squared error of its velocity; it scores and samples by its solver.

    In evaluation its times and noise are the same in every epoch: sbi compares losses to end a training.
    """

    def loss(self, input: Tensor, condition: Tensor) -> Tensor:  # noqa: A002
        """The error of each row, (batch,), at random times: events (batch, *event) and conditions (batch, *shape)."""
        flow = self.net
        objective = flow.objective.build(flow, Identity())  # pyright: ignore
        assert isinstance(objective, VelocityRegression)
        return objective.errors(input, self.embedding_net(condition), None if self.training else keyed(0))

"""Flows as distributions of Pyro: latent variables, likelihoods and guides.

    z = pyro.sample("z", pf.interop.pyro.to_pyro(flow()))                       in a model or a guide
    pyro.sample("x", pf.interop.pyro.to_pyro(flow(context)), obs=x)             a likelihood, in a plate

Register a flow that SVI is to train with `pyro.module("flow", flow)`; in a model whose flow stays as it is, leave that
out. NUTS, HMC and autoguides move in unconstrained space: the support of a flow, `supports=` of its model, has its
bijection from there, registered with torch.distributions on import of this module.

Written for pyro-ppl 1.9.
"""

from collections.abc import Sequence

from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import biject_to, transform_to
from torch.distributions.transforms import CatTransform, IndependentTransform

from pushforward.conditions import Context
from pushforward.distribution import FlowDistribution
from pushforward.flow import Flow
from pushforward.transforms import ProductSupport


class PyroFlow(FlowDistribution, TorchDistributionMixin):  # pyright: ignore[reportIncompatibleMethodOverride]
    """p(x | context) with the methods of Pyro's distributions: calls, masks, `to_event`, `expand_by`.

    >>> flow = pf.models.MAF(features=2).build()
    >>> to_pyro(flow()).expand_by((3,)).to_event(1).event_shape
    torch.Size([3, 2])
    """

    def __init__(self, flow: Flow, context: Context, batch: Sequence[int] = ()):
        super().__init__(flow, context, batch)
        self._drawn: tuple[Tensor, Tensor] | None = None  # the last draw and its log p, which inference asks for next

    def __call__(self, sample_shape: Sequence[int] = ()) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._drawn = self.rsample_and_log_prob(sample_shape)
        return self._drawn[0]

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        return super().log_prob(value)


def to_pyro(distribution: FlowDistribution) -> PyroFlow:
    """What `flow(context)` returns, as a distribution of Pyro. Raises TypeError for anything else."""
    if not isinstance(distribution, FlowDistribution):
        raise TypeError(
            f"to_pyro takes the distribution of a flow, flow(context) or flow(); got a {type(distribution).__name__}."
        )
    return PyroFlow(distribution.flow, distribution.context, distribution.batch_shape)


@transform_to.register(ProductSupport)
@biject_to.register(ProductSupport)
def _biject_to_product(support: ProductSupport) -> IndependentTransform:
    columns = CatTransform([biject_to(part.constraint) for part in support.supports], dim=-support.event_dim)
    return IndependentTransform(columns, support.event_dim)

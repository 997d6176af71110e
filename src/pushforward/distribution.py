"""A flow as a torch.distributions.Distribution, for lampe, torch's own distributions and, by `interop.pyro`, Pyro."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Size, Tensor, broadcast_shapes
from torch.distributions import Distribution, constraints

from pushforward.arrays import as_tensor, sizes
from pushforward.conditions import Context, batch_shape, expand

NO_TENSOR = (
    "this is the distribution of a flow, and no tensor. For draws call its sample or rsample; in Pyro, where "
    "pyro.sample(name, flow) calls the flow, give pushforward.interop.pyro.to_pyro(flow(context))."
)


class FlowDistribution(Distribution):
    """p(x | context). Its batch shape is the context's, or that given to `expand`.

    It holds the flow and a context, and calls the flow.
    """

    arg_constraints = {}  # pyright: ignore
    has_rsample = True

    def __init__(self, flow: Any, context: Context, batch: Sequence[int] = ()):
        self.flow, self.context = flow, context
        if None in flow.event:
            raise ValueError(
                f"a distribution has events of one shape, and this flow's are {tuple(flow.event)}, where None is open. "
                "Call the flow's own log_prob and sample."
            )
        super().__init__(batch_shape(context) if context else Size(batch), Size(flow.event), validate_args=False)

    def __call__(self, *_: object, **__: object) -> Tensor:
        raise TypeError(
            "a flow's distribution is not a function. In Pyro wrap it: pyro.sample(name, "
            "pushforward.interop.pyro.to_pyro(flow(context))). For draws call its sample or rsample."
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(NO_TENSOR if hasattr(Tensor, name) else f"a {type(self).__name__} has no {name!r}.")

    @classmethod
    def _is_no_tensor(cls, *_: object, **__: object) -> Any:
        raise TypeError(NO_TENSOR)

    __torch_function__ = __getitem__ = __neg__ = _is_no_tensor
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _is_no_tensor

    def __repr__(self) -> str:
        shapes = f"event_shape={tuple(self.event_shape)}, batch_shape={tuple(self.batch_shape)}"
        return f"{type(self).__name__}({shapes})"

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError("a flow has no mean in closed form. Average draws: sample((10_000,)).mean(0).")

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError(
            "a flow has no variance in closed form. Take that of draws: sample((10_000,)).var(0)."
        )

    def entropy(self) -> Tensor:
        raise NotImplementedError(
            "a flow has no entropy in closed form. Average over draws: −rsample_and_log_prob((10_000,))[1].mean(0)."
        )

    @property
    def support(self) -> constraints.Constraint:
        """The support of samples."""
        return self.flow.support

    @property
    def transform(self) -> Callable[[Tensor], Tensor]:
        """x -> z, of shapes (*sample, *batch, *event) -> (*sample, *batch, *latent)."""
        return lambda x: self.flow.encode(self._expanded(x), self.context)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> FlowDistribution:
        return type(self)(self.flow, expand(self.context, tuple(batch_shape)), batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value | context) in nats, (*sample, *batch)."""
        return self.flow.log_prob(self._expanded(value), self.context)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.flow.sample(self._shape(sample_shape), self.context)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.flow.rsample(self._shape(sample_shape), self.context)

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        return self.flow.rsample_and_log_prob(self._shape(sample_shape), self.context)

    def _shape(self, sample_shape: Sequence[int]) -> Size:
        """The shape to give to the flow, which adds the context's batch shape itself."""
        return sizes(sample_shape) if self.context else sizes(sample_shape) + self.batch_shape

    def _expanded(self, value: Tensor) -> Tensor:
        """Events in a batch shape to which theirs and the distribution's broadcast."""
        value, events = as_tensor(value, "the value"), len(self.event_shape)
        if value.shape[value.dim() - events :] != self.event_shape:
            raise ValueError(
                f"events of this distribution have shape {tuple(self.event_shape)}; the value has {tuple(value.shape)}."
            )
        given = value.shape[: value.dim() - events]
        try:
            batch = broadcast_shapes(given, self.batch_shape)
        except RuntimeError:
            raise ValueError(
                f"this distribution has batch shape {tuple(self.batch_shape)}, and the value is of events in the shape "
                f"{tuple(given)}, which do not broadcast. Give a context for each row, or one for all."
            ) from None
        return value.expand((*batch, *self.event_shape))

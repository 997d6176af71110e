"""A flow: a transform, the base distribution of its latent, and what it is conditioned on; and it as a Distribution."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal, NamedTuple

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from pushforward.bases import Base
from pushforward.conditions import Context, Embed, Given, Labels, Unconditional
from pushforward.diagnostics import Diagnostics, check, is_exact
from pushforward.guidance import Linear, guide
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample
from pushforward.solve import Solve
from pushforward.transform import Chain, Transform, Triangular, replaced
from pushforward.transforms import Autoregressive, Unconstrain


class Traced(NamedTuple):
    """What a trace tells of one transform: what came out of it, and log-slopes of z's shape.

    log_slopes is the log-det, (batch,), for a transform that does not know a slope for each element.
    """

    transform: Transform
    z: Events
    log_slopes: Tensor


class Flow(nn.Module):
    """A density over events, and a sampler of them, made of a transform and a base.

        log p(x | context) = log p_base(f(x) | context) + log|det df/dx|

    `event` is the shape of one sample. `context` is what the flow is conditioned on, as the user has it: nothing,
    labels or vectors, one a row or one for all rows, or a ready `Context`. Log-densities are in nats.

    >>> from pushforward.bases import StandardNormal
    >>> from pushforward.transforms import Flip
    >>> flow = Flow(Flip(), StandardNormal(2, 1), event=(2, 1))
    >>> flow.sample(5).shape, flow.log_prob(torch.zeros(1, 2, 1))
    (torch.Size([5, 2, 1]), tensor([-1.8379]))
    """

    initialized: Tensor | None  # whether `initialize` was called, where there is anything to measure

    def __init__(self, transform: Transform, base: Base, *, event: tuple[int, ...], embed: Embed = Unconditional()):
        super().__init__()
        self.transform, self.base, self.event, self._embed = transform, base, Size(event), embed
        measurable = any(hasattr(part, "initialize_from") for part in self.modules())
        self.register_buffer("initialized", torch.tensor(False) if measurable else None)

    @property
    def device(self) -> torch.device:
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def classes(self) -> int:
        """How many class labels it is conditioned on; 0 if it is not conditioned on labels."""
        return self._embed.classes if isinstance(self._embed, Labels) else 0

    @property
    def exact(self) -> bool:
        """Whether densities are computed; False where a log-det is estimated, and they are right on average alone."""
        return is_exact(self.transform)

    def embed(self, context: Given) -> Context | None:
        """What the user has -> a `Context` on the flow's device; None for an unconditional flow."""
        embedded = self._embed(context)
        return embedded and embedded.each(lambda t: t.to(self.device))

    def forward(self, context: Given = None) -> FlowDistribution:
        """p(x | context) as a torch Distribution, whose batch shape is the context's."""
        return FlowDistribution(self, self.embed(context))

    def log_prob(self, x: Events, context: Given = None) -> PerSample:
        """log p(x | context) in nats, (batch,)."""
        return self.log_prob_and_latent(x, context)[0]

    def log_prob_and_latent(self, x: Events, context: Given = None) -> tuple[PerSample, Events]:
        """log p(x | context) in nats, (batch,), and the z where the base was asked."""
        context = self._rows(x, self.event, context)
        z, log_det = self.transform(x, context)
        return self.base.log_prob(z, context) + log_det, z

    @torch.no_grad()
    def log_probs(self, batches: Iterable[tuple[Events, Given]]) -> Iterator[PerSample]:
        """log_prob of batches (x, context) as they come, each in nats, (batch,): no more than one is held at a time."""
        for x, context in batches:
            yield self.log_prob(x.to(self.device), context)

    def encode(self, x: Events, context: Given = None) -> Events:
        """x -> z."""
        return self.transform(x, self._rows(x, self.event, context))[0]

    def decode(self, z: Events, context: Given = None, *, solve: Solve | None = None) -> Events:
        """z -> x, differentiably; under torch.no_grad() it is faster.

        Autoregressive steps go back by `solve`, a function in `pushforward.solve`, or by their own where None.
        """
        return self._solved(solve).inverse(z, self._rows(z, self.base.event, context))[0]

    @torch.no_grad()
    def initialize(self, x: Events, context: Given = None) -> None:
        """Let every part that is measured, an `ActNorm` or the units of a context, measure what reaches it, in turn.

        The only door to such state: until it is used such parts are the identity, and a second call measures anew.
        """
        with initializing(self):
            self.transform(x, self._rows(x, self.event, context))

    def sample(
        self,
        shape: int | tuple[int, ...] = (),
        context: Given = None,
        *,
        temperature: float = 1.0,
        generator: Source = None,
        solve: Solve | None = None,
    ) -> Events:
        """Draws of shape (*shape, *batch, *event), where batch is the context's: (B,) for B rows, () for none or one.

        `temperature` multiplies the base's noise; `solve` is that of `decode`. Draws that overflowed are kept, and
        warned of.
        """
        with torch.no_grad():
            return self._draw(shape, context, temperature, generator, solve)[0]

    def sample_and_log_prob(
        self, shape: int | tuple[int, ...] = (), context: Given = None, *, generator: Source = None
    ) -> tuple[Events, Tensor]:
        """Draws and their log-densities, at the cost of the draws alone."""
        with torch.no_grad():
            return self._draw(shape, context, 1.0, generator)

    def rsample(self, shape: int | tuple[int, ...] = (), context: Given = None, *, generator: Source = None) -> Events:
        """Draws with gradients to the flow's parameters and its context."""
        return self._draw(shape, context, 1.0, generator)[0]

    def rsample_and_log_prob(
        self, shape: int | tuple[int, ...] = (), context: Given = None, *, generator: Source = None
    ) -> tuple[Events, Tensor]:
        """Draws and their log-densities, both with gradients."""
        return self._draw(shape, context, 1.0, generator)

    def trace(self, x: Events, context: Given = None) -> Iterator[Traced]:
        """Every transform of the chain in turn: what came out, and its log-slopes unsummed.

        With the base's log_prob of the last z, the sum of all slopes is log_prob.
        """
        context = self._rows(x, self.event, context)
        for transform in _flattened(self.transform):
            slopes = transform.slopes if isinstance(transform, Triangular) else transform
            x, log_slopes = slopes(x, context)
            yield Traced(transform, x, log_slopes)

    def guided(
        self,
        weight: float,
        *,
        on: Literal["both", "scale", "mean"] = "both",
        schedule: Literal["constant", "linear"] = "constant",
        attention_temperature: float = 1.0,
    ) -> Flow:
        """The flow pushed away from its unconditional self: again an exact flow, of the same weights.

        In every autoregressive step the parameters are extrapolated by `weight` from those of the null context to those
        of the context. An unconditional flow is pushed away from itself with the attention's logits divided by
        `attention_temperature`; a conditional one may be given both. See `pushforward.guidance.Linear`.
        """
        if attention_temperature == 1 and isinstance(self._embed, Unconditional):
            raise ValueError(
                "guidance needs something to move away from: this flow is unconditional, "
                "so give attention_temperature other than 1 (0.5, say)."
            )
        twin = copy.copy(self)
        guided = guide(self.transform, Linear(weight, on, schedule), attention_temperature=attention_temperature)
        twin._modules = {**self._modules, "transform": guided}
        return twin

    def denoise(self, x: Events, sigma: float | Tensor, context: Given = None, *, chunk: int = 64) -> Events:
        """The mean of the clean event, given x = clean + sigma · noise where x is a draw of this flow:

            E[clean | x] = x + sigma² · d log p(x) / dx        (Tweedie's formula; Robbins 1956, Efron 2011)

        Exact if the flow is. Never clips. `sigma` is a number or one for each row. `chunk` rows at a time are scored:
        memory does not grow with the batch.
        """
        with torch.inference_mode(False), torch.enable_grad():
            rows = self._rows(x, self.event, context)
            score = torch.cat([self._score(*piece) for piece in _chunked(x, rows, chunk)])
        sigma = torch.as_tensor(sigma, dtype=score.dtype, device=x.device)
        return x.detach() + sigma.reshape(-1, *[1] * len(self.event)).square() * score

    def _score(self, x: Events, context: Context | None) -> Events:
        """d log p(x | context) / dx."""
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(self.log_prob(x, context).sum(), x)[0]

    @torch.no_grad()
    def class_log_probs(self, x: Events, prior: Tensor | None = None) -> Tensor:
        """log p(class | x) by Bayes' rule, (batch, classes). `prior` (classes,): uniform where None."""
        if not self.classes:
            raise ValueError("only a flow conditioned on class labels can classify; this one is not.")
        joint = torch.stack([self.log_prob(x, label) for label in range(self.classes)], dim=1)
        if prior is not None:
            joint = joint + prior.to(joint).log()
        return joint.log_softmax(1)

    def classify(self, x: Events, prior: Tensor | None = None) -> Tensor:
        """The most probable class of each event, (batch,) int64: argmax over classes of p(x | class) · p(class)."""
        return self.class_log_probs(x, prior).argmax(1)

    def check(self, x: Events, context: Given = None, *, rows: int = 2) -> Diagnostics:
        """How exact the flow's arithmetic is on these events: round trips, log-det, what overflowed, how much each step
        stretches, condition numbers, what lies outside splines' bounds. Print it.

        The log-dets of the first `rows` are compared with autograd's, at a backward pass for each number of an event:
        0 for large ones.
        """
        return check(self.transform, x, self._rows(x, self.event, context), rows=rows)

    def _rows(self, x: Events, event: tuple[int, ...], context: Given) -> Context | None:
        """The context of every row of x, after x has been checked."""
        if x.shape[1:] != event:
            raise ValueError(
                f"this flow takes batches of shape (batch, {', '.join(map(str, event))}); x has shape {tuple(x.shape)}."
            )
        if not x.is_floating_point():
            raise ValueError(f"this flow takes real numbers; x is {x.dtype}. Lift integers first (pushforward.codecs).")
        embedded = self.embed(context)
        return embedded and embedded.rows(x.shape[:1])

    def _solved(self, solve: Solve | None) -> Transform:
        """The transform, with every autoregressive step going back by `solve`."""
        if solve is None:
            return self.transform
        change = lambda step: Autoregressive(step.net, step.move, solve=solve)  # noqa: E731
        return replaced(self.transform, Autoregressive, change)  # pyright: ignore[reportReturnType]

    def _draw(
        self,
        shape: int | tuple[int, ...],
        context: Given,
        temperature: float,
        generator: Source,
        solve: Solve | None = None,
    ) -> tuple[Events, Tensor]:
        embedded = self.embed(context)
        shape = Size((shape,) if isinstance(shape, int) else shape) + (embedded.batch_shape if embedded else Size())
        rows = embedded and embedded.rows(shape)
        z = self.base.sample(shape.numel(), rows, temperature=temperature, generator=generator)
        x, log_det = self._solved(solve).inverse(z, rows)
        log_prob = self.base.log_prob(z, rows) - log_det
        lost = (~x.detach().flatten(1).isfinite().all(1)).sum().item()
        if lost:
            warnings.warn(f"{lost} of {len(x)} samples are not finite", RuntimeWarning, stacklevel=3)
        return x.reshape((*shape, *self.event)), log_prob.reshape(shape)


class FlowDistribution(Distribution):
    """p(x | context) as lampe and Pyro take it, of any batch shape: the context's, or what `expand` made of it.

    It holds the flow and its context and calls the flow; nothing is built or cached on the way.
    """

    arg_constraints = {}  # pyright: ignore
    has_rsample = True

    def __init__(self, flow: Flow, context: Context | None, batch_shape: Size = Size()):
        self.flow, self.context = flow, context
        super().__init__(context.batch_shape if context else batch_shape, flow.event, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Where samples lie: what the supports of a flow of vectors say, else every number."""
        first = next(_flattened(self.flow.transform))
        if isinstance(first, Unconstrain):
            return constraints.stack([support.constraint for support in first.supports], -1)
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def transform(self) -> Callable[[Tensor], Tensor]:
        """x -> z, of shapes (*sample, *batch, *event) -> (*sample, *batch, *latent)."""
        return lambda x: self._by_rows(self.flow.encode, x)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> FlowDistribution:
        return FlowDistribution(self.flow, self.context and self.context.expand(tuple(batch_shape)), Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value | context) in nats, (*sample, *batch)."""
        return self._by_rows(self.flow.log_prob, value)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.flow.sample(self._shape(sample_shape), self.context)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.flow.rsample(self._shape(sample_shape), self.context)

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        return self.flow.rsample_and_log_prob(self._shape(sample_shape), self.context)

    def _shape(self, sample_shape: Sequence[int]) -> Size:
        """What to ask the flow for, which adds the context's batch shape itself."""
        return Size(sample_shape) if self.context else Size(sample_shape) + self.batch_shape

    def _by_rows(self, function: Callable, value: Tensor) -> Tensor:
        """function(events, context) on value's events as one batch."""
        events = len(self.event_shape)
        if value.shape[value.dim() - events :] != self.event_shape:
            raise ValueError(
                f"events of this distribution have shape {tuple(self.event_shape)}; the value has {tuple(value.shape)}."
            )
        batch = torch.broadcast_shapes(value.shape[: value.dim() - events], self.batch_shape)
        rows = value.expand((*batch, *self.event_shape)).reshape(-1, *self.event_shape)
        answer = function(rows, self.context and self.context.rows(batch))
        return answer.reshape((*batch, *answer.shape[1:]))


@contextmanager
def initializing(module: nn.Module) -> Iterator[None]:
    """Let every part measure what it is called with meanwhile, before it answers."""
    missed = {part for part in module.modules() if hasattr(part, "initialize_from")}

    def measure(part: nn.Module, args: tuple[Any, ...]) -> None:
        part.initialize_from(args[0])  # pyright: ignore[reportCallIssue]
        missed.discard(part)

    hooks = [part.register_forward_pre_hook(measure) for part in missed]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if missed:
        raise ValueError(f"no data reached {', '.join(type(part).__name__ for part in missed)} on the way.")
    for flow in module.modules():
        if isinstance(flow, Flow) and flow.initialized is not None:
            flow.initialized.fill_(True)


def _flattened(transform: Transform) -> Iterator[Transform]:
    """The transforms of a chain, and of the chains in it, in order."""
    if isinstance(transform, Chain):
        for part in transform:
            yield from _flattened(part)
    else:
        yield transform


def _chunked(x: Events, context: Context | None, size: int) -> Iterator[tuple[Events, Context | None]]:
    """So many rows at a time, and their context; one empty piece of an empty batch."""
    if size < 1:
        raise ValueError(f"a chunk has at least one row; got chunk={size}.")
    for start in range(0, max(len(x), 1), size):
        rows = slice(start, start + size)
        yield x[rows], context and context.each(lambda t: t[rows])  # noqa: B023

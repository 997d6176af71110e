"""A flow: a transform, the base distribution of its latent, and what it is conditioned on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from pushforward import classification, conditions, diagnostics, guidance, streaming
from pushforward.arrays import as_tensor, check_finite, check_real, moved, sizes, tensor_for
from pushforward.bases import Base
from pushforward.computed import complete
from pushforward.conditions import Condition, Context, Given, Kind, Label
from pushforward.denoising import Denoiser, Score, noise_levels
from pushforward.distribution import FlowDistribution
from pushforward.infinities import mapped, mapped_alone
from pushforward.initialization import initializing, needs_data
from pushforward.randomness import Source, drawing
from pushforward.recording import recorded
from pushforward.shapes import Events, PerSample, fits, spread
from pushforward.statistics import narrowed
from pushforward.transform import Solver, Traced, Transform, solved_by, trace, twin

Shape = int | tuple[int, ...]  # of draws


class Flow(nn.Module):
    """A density over events, and a sampler of them, made of a transform and a base.

        log p(x | context) = log p_base(f(x) | context) + log|det df/dx|

    `event` is the shape of one sample; an axis of None has any size above 0. `conditions` maps names to kinds of
    conditions: {"label": Label(10)}. The argument `context` of a method is then the value of the one condition, for
    each row or one for all rows, or a dict of values by name; None for an unconditional flow. Log p is in nats.
    `objective` is the `objectives.ObjectiveConfig` by which `fit` trains it; None: maximum likelihood.

    Methods take events x (*batch, *event), a tensor, an array of any kind or a list. The batch shapes of x and of the
    context broadcast, and answers have the shape that they broadcast to, here written (*batch). A row with an infinite
    element has a density of 0 and an infinite latent. On a CPU so has a finite row that overflows to NaN. A row with a
    NaN has answers of NaN.

    >>> from pushforward.bases import StandardNormal
    >>> from pushforward.transforms import Flip
    >>> flow = Flow(Flip(), StandardNormal(2, 1), event=(2, 1))
    >>> flow.sample(5).shape, flow.log_prob(torch.zeros(1, 2, 1))
    (torch.Size([5, 2, 1]), tensor([-1.8379]))
    """

    event: tuple[int, ...]  # None where an axis is open
    columns: tuple[str, ...] = ()  # names of its features, where a run on a table says them
    context_columns: tuple[str, ...] = ()  # and of what they are conditioned on
    embedding: Callable[[Condition], Condition] | None  # of its one condition, for all networks; see `fit`
    denoiser: Denoiser | None  # trained beside it, by `objectives.WithDenoiser`; for `denoise(by=…)`
    initialized: Tensor | None  # whether `initialize` was called; None if no part is initialised from data

    def __init__(
        self,
        transform: Transform,
        base: Base,
        *,
        event: tuple[int | None, ...],
        conditions: Mapping[str, Kind] | None = None,
        objective: Any = None,
    ):
        super().__init__()
        self.transform, self.base, self.objective = transform, base, objective
        self.event = tuple(event) if None in event else Size(event)  # pyright: ignore
        self.conditions = dict(conditions or {})
        self.register_module("embedding", None)
        self.register_module("denoiser", None)
        self.register_buffer("initialized", torch.tensor(False) if needs_data(self) else None)
        self.register_load_state_dict_post_hook(_complete)

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            if not hasattr(FlowDistribution, name):
                raise
            raise AttributeError(
                f"a flow is no distribution, and has no {name}. flow() is one, or flow(context) where there are "
                "conditions; in Pyro pushforward.interop.pyro.to_pyro(flow())."
            ) from error

    @property
    def device(self) -> torch.device:
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return next((t.dtype for t in chain(self.parameters(), self.buffers()) if t.is_floating_point()), torch.float32)

    @property
    def classes(self) -> int:
        """The number of classes of its label condition; 0 if it has none."""
        return next((kind.classes for kind in self.conditions.values() if isinstance(kind, Label)), 0)

    @property
    def exact(self) -> bool:
        """Whether log-dets are computed exactly; False where one is an unbiased estimate."""
        return diagnostics.is_exact(self.transform)

    @property
    def support(self) -> constraints.Constraint:
        """The support of events, as a constraint of torch.distributions."""
        return self.transform.support(self.event) or constraints.independent(constraints.real, len(self.event))

    def context(self, given: Given) -> Context:
        """The user's values -> the context, on the flow's device. Raises ValueError where they do not fit."""
        context = conditions.read(self.conditions, given)
        return conditions.each(context, partial(moved, device=self.device)) if context else context

    def forward(self, context: Given = None, *others: object) -> FlowDistribution:
        """p(x | context) as a torch Distribution, whose batch shape is the context's."""
        if others:
            raise TypeError(
                f"a flow is called with its context alone, and answers a distribution; got {1 + len(others)} values. "
                "For log-densities call log_prob(x, context). lampe's NPELoss takes NPE(features, context, build=…), "
                "which calls the flow so."
            )
        return FlowDistribution(self, self.context(context))

    def log_prob(self, x: Events, context: Given = None) -> PerSample:
        """log p(x | context) in nats, (*batch)."""
        x, rows, batch = self._rows(x, self.event, context)

        def scored(x: Events, rows: Context) -> tuple[Events, PerSample]:
            return x, self.transform.log_prob(x, self.base, rows)

        return _unflattened(mapped(scored, x, rows, self.parameters())[1], batch)

    def log_prob_and_latent(self, x: Events, context: Given = None) -> tuple[PerSample, Events]:
        """log p(x | context) in nats, (*batch), and the latent z of x, (*batch, *latent)."""
        x, rows, batch = self._rows(x, self.event, context)
        z, log_det = mapped(self.transform, x, rows, self.parameters())
        return _unflattened(self.base.log_prob(z, rows) + log_det, batch), _unflattened(z, batch)

    @torch.no_grad()
    def log_probs(self, batches: Iterable[Events | Sequence[Any]]) -> Iterator[PerSample]:
        """log_prob in nats, (*batch), of each batch in turn, (x, context) or x: one batch is in memory at a time."""
        for batch in batches:
            x, *context = batch if isinstance(batch, tuple | list) else (batch,)
            yield self.log_prob(moved(as_tensor(x), self.device), *context)

    def encode(self, x: Events, context: Given = None) -> Events:
        """x -> z, (*batch, *latent)."""
        x, rows, batch = self._rows(x, self.event, context)
        return _unflattened(mapped_alone(self.transform.encode, x, rows, self.parameters()), batch)

    def decode(
        self, z: Events, context: Given = None, *, known: Events | None = None, solve: Solver | None = None
    ) -> Events:
        """z -> x, (*batch, *event), differentiably; under torch.no_grad() it is faster.

        `solve` is the solver (`pushforward.solve`) of all transforms that have one, or a sequence of several kinds.
        `known` (*batch, n, …) fixes the first n elements along the event's first axis: the others are decoded given
        these, from the rest of z. Raises ValueError where `known` does not fit, or where the transform is not causal,
        that is where z[:, :n] depends on more than x[:, :n].
        """
        z, rows, batch = self._rows(z, self.base.event, context, "z")
        transform = solved_by(self.transform, solve)
        if known is None:
            return _unflattened(mapped_alone(transform.decode, z, rows), batch)
        if not transform.causal:
            raise ValueError(
                "known= fixes the first elements of an event, and this flow is not causal: its first latents depend on "
                "later elements. Draw the rest by pushforward.editing.inpaint."
            )
        known = streaming.known_rows(tensor_for(self, known, "known"), batch, (z.shape[1], *self.event[1:]))
        n = known.shape[1]
        rest = known.new_zeros(len(z), z.shape[1] - n, *known.shape[2:])  # z[:, :n] does not depend on it
        start = mapped(transform, torch.cat([known, rest], 1), rows)[0][:, :n]
        x = mapped(transform.inverse, torch.cat([start, z[:, n:]], 1), rows)[0]
        return _unflattened(torch.cat([known.to(x), x[:, n:]], 1), batch)

    @torch.no_grad()
    def initialize(self, x: Events, context: Given = None) -> None:
        """Initialise every part that is initialised from data, such as an `ActNorm`, from these events.

        Until then such parts are the identity. A second call initialises them anew. Nothing else sets this state.
        Statistics are computed in float64. Units of float64 data that float32 does not hold, such as times in seconds
        since 1980, stay float64, and so do samples. Raises ValueError where there are no events, or where an element of
        these, or of their context, is not finite.
        """
        x, rows, _ = self._rows(x, self.event, context, embedded=False)
        if not len(x):
            raise ValueError("there are no events to initialise from: x has no rows.")
        check_finite(x)
        for name, condition in rows.items():
            check_finite(condition.value.masked_fill(spread(condition.null, condition.value), 0), name)
        if self.dtype != torch.float64:
            x = narrowed(x, integers=getattr(self.support, "integers", ()))  # of a `transforms.ProductSupport`
            rows = conditions.each(rows, narrowed)
        with initializing(self):
            self.transform.encode(x, self.embedded(rows))

    @drawing
    def sample(
        self,
        shape: Shape = (),
        context: Given = None,
        *,
        size: tuple[int, ...] | None = None,
        temperature: float = 1.0,
        generator: Source = None,
        solve: Solver | None = None,
    ) -> Events:
        """Draws of shape (*shape, *batch, *event), where batch is the context's: (B,) for B rows, () for none or one.

        `size` is the shape of one sample, for a flow whose event has open axes. `temperature` multiplies the base's
        noise; `solve` is that of `decode`. Draws that are not finite are returned, with a warning.
        """
        with torch.no_grad():
            x, _ = self._draw(shape, context, size, temperature, generator, solve, scored=False)
        _warn_if_not_finite(x, len(self.event))
        return x

    @drawing
    def sample_and_log_prob(
        self, shape: Shape = (), context: Given = None, *, generator: Source = None
    ) -> tuple[Events, Tensor]:
        """Draws and their log-densities, at the cost of the draws."""
        with torch.no_grad():
            x, log_prob = self._draw(shape, context, generator=generator)
        _warn_if_not_finite(x, len(self.event))
        return x, log_prob

    @drawing
    def rsample(self, shape: Shape = (), context: Given = None, *, generator: Source = None) -> Events:
        """Draws with gradients to the flow's parameters and its context."""
        return self._draw(shape, context, generator=generator, scored=False)[0]

    @drawing
    def rsample_and_log_prob(
        self, shape: Shape = (), context: Given = None, *, generator: Source = None
    ) -> tuple[Events, Tensor]:
        """Draws and their log-densities, both with gradients."""
        return self._draw(shape, context, generator=generator)

    stream = streaming.stream

    def trace(self, x: Events, context: Given = None) -> Iterator[Traced]:
        """Every transform of the chain in order, with its output z and its log-slopes, not summed.

        log_prob is the sum of all log-slopes plus the base's log_prob of the last z. Raises ValueError where an element
        is not finite.
        """
        x, rows, batch = self._rows(x, self.event, context)
        check_finite(x)
        steps = trace(self.transform, x, rows)
        return (Traced(step.transform, *(_unflattened(t, batch) for t in step[1:])) for step in steps)

    def solved_by(self, solve: Solver | Sequence[Solver]) -> Flow:
        """The flow of the same weights whose scoring and sampling have other solvers (`pushforward.solve`)."""
        return self.with_transform(solved_by(self.transform, solve))

    guided = guidance.guided

    def denoise(self, x: Events, sigma: float | Tensor, context: Given = None, *, by: Denoiser | None = None) -> Events:
        """The clean event, given x = clean + sigma · noise, `by` a denoiser of `pushforward.denoising`, or `Score()`.

        `sigma`, above 0, is one value for all rows or (*batch). The result is not clipped.
        """
        with torch.inference_mode(False):  # gradients are needed, context encoders included
            x, rows, batch = self._rows(x, self.event, context, embedded=False)
            levels = moved(noise_levels(sigma, batch), x.device)
            return _unflattened((by or Score())(self.log_prob, x, levels, rows), batch)

    class_log_probs = classification.class_log_probs

    classify = classification.classify

    def check(self, x: Events, context: Given = None, *, rows: int = 2) -> diagnostics.Diagnostics:
        """How exact the flow's arithmetic is on these events: see `pushforward.diagnostics.check`. Print the result.

        The log-dets of the first `rows` events are compared with those of the autograd Jacobian, at one backward pass
        for each element: take rows=0 for large events.
        """
        x, context, _ = self._rows(x, self.event, context)
        return diagnostics.check(self.transform, x, context, rows=rows)

    def _rows(
        self, x: Any, event: tuple[int, ...], context: Given, name: str = "x", *, embedded: bool = True
    ) -> tuple[Events, Context, Size]:
        """x as rows (rows, *event), their context, and the batch shape, to which that of x and the context's broadcast.

        Raises ValueError where x or the context does not fit.
        """
        x = tensor_for(self, x, name)
        apart = max(x.dim() - len(event), 0)
        batch, shape = x.shape[:apart], x.shape[apart:]
        if not fits(shape, event):
            raise ValueError(
                f"this flow takes batches of shape (batch, {', '.join(map(str, event))}); {name} has shape "
                f"{tuple(x.shape)}.{f' Give {name}[:, None].' if event == (1,) and x.dim() == 1 else ''}"
                f"{' None is any size above 0.' if None in event else ''}"
            )
        check_real(x, name)
        given = self.embedded(self.context(context)) if embedded else self.context(context)
        whole = conditions.broadcast(given, batch)
        if len(whole) != 1 or whole != batch:
            x = x.expand((*whole, *shape)).reshape((whole.numel(), *shape))
        return x, conditions.rows(given, whole), whole

    def with_transform(self, transform: Transform) -> Flow:
        """The flow with another transform, of the same weights."""
        return twin(self, _modules={**self._modules, "transform": transform})

    def embedded(self, context: Context) -> Context:
        """The context as networks read it."""
        if self.embedding is None:
            return context
        batch = conditions.batch_shape(context)
        made = {name: self.embedding(condition) for name, condition in conditions.rows(context, batch).items()}
        return conditions.each(made, lambda t: t.reshape((*batch, *t.shape[1:])))

    def _draw(
        self,
        shape: Shape,
        context: Given,
        size: tuple[int, ...] | None = None,
        temperature: float = 1.0,
        generator: Source = None,
        solve: Solver | None = None,
        scored: bool = True,
    ) -> tuple[Events, Any]:
        """Draws, and their log-densities; None where these are not `scored`, which may be cheaper."""
        event, given = self._sample_shape(size), self.embedded(self.context(context))
        shape = sizes(shape) + conditions.batch_shape(given)
        rows, latent = conditions.rows(given, shape), None if size is None else self.transform.latent_shape(event)
        z = self.base.sample(shape.numel(), rows, event=latent, temperature=temperature, generator=generator)
        transform = solved_by(self.transform, solve)
        if not scored:
            return transform.decode(z, rows).reshape((*shape, *event)), None
        x, log_det = transform.inverse(z, rows)
        return x.reshape((*shape, *event)), (self.base.log_prob(z, rows) - log_det).reshape(shape)

    def _sample_shape(self, size: tuple[int, ...] | None) -> Size:
        """The shape of one sample: the event's own, or `size` where its axes are open."""
        size = sizes(size, "size") if size else self.event
        if None in size or not fits(size, self.event):
            raise ValueError(
                f"this flow has samples of shape {tuple(self.event)}, where None is any size above 0: give size=, the "
                f"shape of one sample, in numbers; got {tuple(size)}."
            )
        return Size(size)


def _warn_if_not_finite(x: Events, axes: int) -> None:
    """Warn where a draw, whose event has so many axes, is not finite; not where values are recorded or absent."""
    if x.is_meta or recorded(x.device.type):
        return
    lost = ~x.flatten(x.dim() - axes).isfinite().all(-1)
    if lost.any():
        warnings.warn(f"{lost.sum().item()} of {lost.numel()} samples are not finite", RuntimeWarning, stacklevel=4)


def _complete(flow: Flow, _: object) -> None:
    complete(flow, flow.device)


def _unflattened(t: Tensor, batch: Size) -> Tensor:
    """(rows, …) -> (*batch, …)."""
    return t if len(batch) == 1 else t.reshape((*batch, *t.shape[1:]))

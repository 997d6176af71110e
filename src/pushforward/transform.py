"""The contract of all transforms.

    A flow is a chain of invertible transforms. A transform is **who moves** (coupling, autoregressive, continuous) ×
    **how it moves** (shift, affine, spline, mixture CDF) × **which network says by how much**.
    Everything here is one of those three, or assembles them.

If z = f(x) is invertible and z has density p(z), then x has density

    log p(x) = log p(f(x)) + log|det df/dx|

so training by maximum likelihood needs a transform that returns its log-determinant beside its value, and sampling
needs its inverse. A chain of transforms adds log-determinants.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pushforward.conditions import Context
from pushforward.plain import is_unchanged
from pushforward.shapes import Events, InParts, PerSample, sum_event

Base = Any  # of `pushforward.bases`: the distribution of z
Solver = Any  # of `pushforward.solve`: each kind of transform has its own kinds
Rule = Any  # of `pushforward.guidance`
Module = TypeVar("Module", bound=nn.Module)


class Transform(nn.Module, ABC):
    """An invertible map, in both directions.

    forward  x -> z, log|det dz/dx|     data to latent: what training runs, so it is what () calls
    inverse  z -> x, log|det dx/dz|     latent to data: what sampling runs

    log_det is summed over the event, in nats, of shape (batch,); the value and log_det have
    promote_types(input dtype, weight dtype, float32). Neither direction changes its input or stores anything.
    """

    exact: bool = True  # whether log_det is computed; False where it is an estimate
    causal: bool = False  # whether z[:, :n] depends on x[:, :n] alone for every n: first tokens can be decoded first

    @abstractmethod
    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]: ...

    @abstractmethod
    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]: ...

    def log_prob(self, x: Events, base: Base, context: Context | None = None) -> PerSample:
        """log p(x) in nats, (batch,), where z has the distribution `base`.

        Some transforms compute it without z, but not where they have hooks: then they are called.
        """
        z, log_det = self(x, context)
        return base.log_prob(z, context) + log_det

    def encode(self, x: Events, context: Context | None = None) -> Events:
        """x -> z alone: a transform whose log_det costs something leaves it out."""
        return self(x, context)[0]

    def decode(self, z: Events, context: Context | None = None) -> Events:
        """z -> x alone, likewise."""
        return self.inverse(z, context)[0]

    def stream(self, z: InParts, context: Context | None = None, known: Events | None = None) -> Iterator[Events]:
        """z in parts along its first axis -> x in parts: by default one. Steps that decode one part of x before the
        next part of z is taken, as autoregressive ones do, give parts of the same sizes.

        `known` (batch, n, …) are the first elements of x, and z is that of the elements after them, for a transform
        that is causal and takes events of n elements.
        """
        z = torch.cat([*z], 1)
        if known is None:
            yield self.decode(z, context)
        else:
            n = known.shape[1]
            yield self.decode(torch.cat([self.encode(known, context), z], 1), context)[:, n:]

    def fitted_to(self, x: Events) -> Transform:
        """The transform of events of x's shape; itself, unless its parts depend on that."""
        return self

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one z for events x of this shape."""
        return event

    def support(self, event: tuple[int, ...]) -> Constraint | None:
        """The support of x, for events of this shape; None where it is all real events."""
        return None

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis | None:
        """What the transform did between x and its z; None where it only rearranges, or where its parts say more."""
        return None


class Solving(Transform):
    """A transform that is computed by a solver, in one direction or in both."""

    solve: Solver

    @abstractmethod
    def accepts(self, solve: Solver) -> bool:
        """Whether this is a solver of this kind of transform."""

    def solved_by(self, solve: Solver) -> Transform:
        """The same transform, of the same weights and hooks, with another solver."""
        return twin(self, solve=solve)


class Guidable(Transform):
    """A transform whose network reads the context, and can be guided away from its null context."""

    @abstractmethod
    def guided(self, rule: Rule, null: tuple[str, ...] | Context, attention_temperature: float) -> Transform:
        """The transform whose network's outputs the rule combines with those of a null pass.

        There the conditions named in `null` are null, or all where none is named, or are those of the context `null`,
        and attention logits are divided by `attention_temperature`. Raises ValueError where the rule cannot guide it.
        """


class Triangular(Transform):
    """A transform whose Jacobian is triangular for some order of the elements.

    Then log|det dz/dx| is the sum of the log-slopes log|dz_i/dx_i|, one for each element. Heat maps, masked losses and
    diagnostics read them.
    """

    @abstractmethod
    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        """x -> z, log-slopes: both of z's shape."""

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return summed(*self.slopes(x, context))

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis | None:
        return Diagnosis(type(self).__name__, self.slopes(x, context)[1])


def summed(value: Events, log_slopes: Events) -> tuple[Events, PerSample]:
    """The value, and the log-det of these log-slopes, in the value's dtype."""
    return value, sum_event(log_slopes).type_as(value)


class Chain(Transform):
    """Transforms one after the other: x -> part 0 -> part 1 -> … -> z. Log-determinants add up.

    >>> from pushforward.transforms import Flip, Patchify
    >>> z, log_det = Chain(Patchify((1, 4, 4), 2), Flip())(torch.zeros(5, 1, 4, 4))
    >>> z.shape, log_det.shape
    (torch.Size([5, 4, 4]), torch.Size([5]))
    """

    def __init__(self, *parts: Transform):
        super().__init__()
        if not parts:
            raise ValueError("a chain has at least one part.")
        self.parts = nn.ModuleList(parts)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.parts)  # pyright: ignore[reportReturnType]

    def __getitem__(self, index: int) -> Transform:
        return self.parts[index]  # pyright: ignore[reportReturnType]

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def causal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(part.causal for part in self)

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        for part in self:
            event = part.latent_shape(event)
        return event

    def support(self, event: tuple[int, ...]) -> Constraint | None:
        return self[0].support(event)

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        log_dets = []
        for part in self:
            x, log_det = part(x, context)
            log_dets.append(log_det)
        return x, reduce(torch.add, log_dets)

    def log_prob(self, x: Events, base: Base, context: Context | None = None) -> PerSample:
        if not is_unchanged(self, Chain):
            return super().log_prob(x, base, context)
        *before, last = self
        log_dets = []
        for part in before:
            x, log_det = part(x, context)
            log_dets.append(log_det)
        return reduce(torch.add, log_dets, last.log_prob(x, base, context))

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        log_dets = []
        for part in reversed(self.parts):
            z, log_det = part.inverse(z, context)  # pyright: ignore[reportCallIssue]
            log_dets.append(log_det)
        return z, reduce(torch.add, log_dets)

    def encode(self, x: Events, context: Context | None = None) -> Events:
        if not is_unchanged(self, Chain):
            return super().encode(x, context)
        for part in self:
            x = part.encode(x, context)
        return x

    def decode(self, z: Events, context: Context | None = None) -> Events:
        for part in reversed(self.parts):
            z = part.decode(z, context)  # pyright: ignore[reportCallIssue]
        return z

    def stream(self, z: InParts, context: Context | None = None, known: Events | None = None) -> Iterator[Events]:
        if not self.causal:
            return super().stream(z, context, known)
        given = [known]  # of each part
        for part in self.parts[:-1]:
            given.append(None if known is None else part.encode(given[-1], context))  # pyright: ignore[reportCallIssue]
        for part, first in zip(reversed(self.parts), reversed(given), strict=True):
            z = part.stream(z, context, first)  # pyright: ignore[reportCallIssue]
        return iter(z)


class Inverse(Transform):
    """A transform with forward and inverse exchanged: a MAF becomes an IAF.

    Its `latent_shape` is that of transforms that keep the shape of events; of others it raises ValueError.
    """

    def __init__(self, transform: Transform):
        super().__init__()
        self.transform = transform

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self.transform.inverse(x, context)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self.transform(z, context)

    def encode(self, x: Events, context: Context | None = None) -> Events:
        return self.transform.decode(x, context)

    def decode(self, z: Events, context: Context | None = None) -> Events:
        return self.transform.encode(z, context)

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        if self.transform.latent_shape(event) != event:
            raise ValueError(
                f"a {type(self.transform).__name__} changes the shape of events, and its Inverse does not know how. "
                "Unpatchify undoes a Patchify, and inverted() a Regroup."
            )
        return event

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis | None:
        found = self.transform.diagnose(z, x, context)
        return found and found._replace(log_slopes=-found.log_slopes)


class Diagnosis(NamedTuple):
    """What a transform did to the events of a batch."""

    kind: str  # the transform's class
    log_slopes: Tensor  # log|dz/dx|, or the logarithms of a matrix's singular values; of any shape
    condition: float = math.nan  # a matrix's greatest singular value over its least
    outside: Tensor | None = None  # bool, of any shape: whether elements were outside the bounds of the move
    evaluations: Tensor | None = None  # (batch,), of the velocity of a continuous transform
    refused: Tensor | None = None  # (batch,), steps of its solver


class Traced(NamedTuple):
    """One transform of a trace, its output z, and log-slopes of z's shape.

    For a transform that is not `Triangular` log_slopes is the log-det, (batch,).
    """

    transform: Transform
    z: Events
    log_slopes: Tensor


def trace(transform: Transform, x: Events, context: Context | None = None) -> Iterator[Traced]:
    """Apply every transform of a chain, and of the chains in it, in order."""
    for part in flattened(transform):
        fitted = part.fitted_to(x)
        if fitted is part:
            x, log_slopes = (part.slopes if isinstance(part, Triangular) else part)(x, context)
            yield Traced(part, x, log_slopes)
        else:
            for traced in trace(fitted, x, context):
                x = traced.z
                yield traced


def flattened(transform: Transform) -> Iterator[Transform]:
    """The transforms of a chain, and of the chains in it, in order."""
    if isinstance(transform, Chain):
        for part in transform:
            yield from flattened(part)
    else:
        yield transform


def solved_by(transform: Transform, solve: Solver | Sequence[Solver] | None) -> Transform:
    """The transform with other solvers: each `Solving` step has the solver that it accepts; itself where it is None.

    Raises ValueError where there are such steps and none accepts a solver.
    """
    for each in () if solve is None else solve if isinstance(solve, Sequence) else (solve,):
        steps = [part for part in transform.modules() if isinstance(part, Solving)]
        if steps and not any(step.accepts(each) for step in steps):
            kinds = ", ".join(sorted({type(step).__name__ for step in steps}))
            raise ValueError(f"{each} solves no step of this flow, which has {kinds}.")

        def change(step: Solving, solve: Solver = each) -> Transform:
            return step.solved_by(solve) if step.accepts(solve) else step

        transform = replaced(transform, Solving, change)  # pyright: ignore[reportAssignmentType]
    return transform


def replaced(module: nn.Module, kind: type | tuple[type, ...], change: Callable) -> nn.Module:
    """The module with every part of class `kind` replaced by change(part). Modules that contain such a part are copied,
    others and all weights are shared. The original is unchanged."""
    if isinstance(module, kind):
        return change(module)
    children = {name: child and replaced(child, kind, change) for name, child in module._modules.items()}
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    return twin(module, _modules=children)


def twin(module: Module, **attributes: Any) -> Module:
    """A copy of the module, with the same parts, weights and hooks, but for these attributes."""
    copied = copy.copy(module)
    vars(copied).update(attributes)
    return copied

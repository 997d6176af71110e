"""Couplings: which noise goes with which data, in flow matching.

The velocity that is learned moves noise to data whatever the coupling, as long as the noise of each condition is
standard normal. Pairs that are close have straighter trajectories, which solvers follow in fewer steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from pushforward import conditions
from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.flow import Flow
from pushforward.optional import require
from pushforward.randomness import Source, draw
from pushforward.shapes import Events
from pushforward.transform import flattened


class Pairs(NamedTuple):
    """Noise, data and their context, one row each."""

    noise: Events  # (n, *event)
    data: Events  # (n, *event), where the velocity acts: standardised, on the real line
    events: Events  # (n, …), the same as the flow takes them
    context: Context


class Everything(Protocol):
    """A function of all of the data: the pairs of rows (n,) int64, or of all rows, whose noise is by the generator."""

    def __call__(self, rows: Tensor | None = None, generator: Source = None) -> Pairs: ...


class Coupling(ABC):
    """The contract of a coupling: a frozen dataclass, without state."""

    waits: ClassVar[bool] = False  # whether the host waits for the device when it pairs
    alike: ClassVar[bool] = False  # whether each row is paired with as much noise, whatever its weight

    def learn(self, everything: Everything) -> Coupling:
        """The coupling that is used with these data: what has nothing to learn returns itself."""
        return self

    @abstractmethod
    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        """Independent noise and data of a batch -> pairs that belong together, as many."""


@dataclass(frozen=True)
class Independent(Coupling):
    """Noise and data as they come. Lipman et al. 2023, arXiv:2210.02747."""

    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        return pairs


@dataclass(frozen=True)
class MinibatchOT(Coupling):
    """The assignment of a batch's noise to its data with the least mean squared distance.

    Rows are assigned within equal conditions, never across: else the noise of a condition would not be normal. So a
    condition that differs from row to row, such as a vector, leaves the pairs as they are. The bias of a batch of k
    rows falls like k^(−1/2) or slower. Needs SciPy. Tong et al. 2024 (OT-CFM), arXiv:2302.00482.
    """

    waits: ClassVar[bool] = True
    alike: ClassVar[bool] = True

    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        noise = pairs.noise.clone()
        for rows in groups(pairs.context, noise):
            noise[rows] = noise[rows][assignment(pairs.noise[rows], pairs.data[rows])]
        return pairs._replace(noise=noise)


@dataclass(frozen=True)
class SemidiscreteOT(Coupling):
    """Optimal transport of the normal distribution, all of it, to the rows of the data.

    Row j is the partner of the noise z where g_j + 2 z·x_j − |x_j|² is greatest. The g_j, one number a row, are learned
    before training by stochastic gradient ascent of the dual, g_j += rate · (1 − N · share of a batch that chose j),
    where the rate falls, and averaged over the second half. A batch then has fresh noise, each with its row, encoded
    anew, so the noise is exactly normal; the shares of the rows are 1 / N up to the `chi2` of what `learn` returns,

        χ² = Σ_j (share_j − 1/N)² / (1/N), without bias,        0 where all shares are equal

    Labels have potentials of their own, and conditions of other kinds are refused. Genevay et al. 2016,
    arXiv:1605.08527; Mousavi-Hosseini et al. 2025, arXiv:2509.25519.
    """

    waits: ClassVar[bool] = True
    alike: ClassVar[bool] = True

    steps: int = 2000
    batch: int = 2048  # noise a step
    rate: float = 0.1  # in units of the data's deviation; falls like one over the root of the step
    seed: int = 0

    def __post_init__(self):
        check_number(self.steps, "steps", least=1)
        check_number(self.batch, "batch", least=2)
        check_number(self.rate, "rate", above=0)

    def learn(self, everything: Everything) -> SemidiscretePairs:
        pairs = everything()
        rows = groups(pairs.context, pairs.data, labels=True)
        data = tuple(pairs.data[part].flatten(1) for part in rows)
        potentials, chi2 = zip(*map(self.potentials, data), strict=True)
        found = keys(pairs.context, pairs.data)[torch.stack([part[0] for part in rows])]
        return SemidiscretePairs(everything, found, tuple(rows), data, potentials, max(chi2))

    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        raise ValueError("a semidiscrete coupling learns from all the data first: coupling = coupling.learn(data).")

    def potentials(self, x: Tensor, noise: Callable[[int, Generator], Tensor] | None = None) -> tuple[Tensor, float]:
        """g (N,) of the data x (N, d), and χ² of the shares that they give. `noise` draws (m, d), by default normal."""
        generator, n = Generator("cpu").manual_seed(self.seed), len(x)
        g = x.square().sum(1) - (x - x.mean(0)).square().sum(1)  # a shift of all data changes nothing but this
        mean, scale = torch.zeros_like(g), self.rate * min(1, self.batch / n) * x.var(0, correction=0).mean().sqrt()

        def counts(g: Tensor, m: int) -> Tensor:
            z = noise(m, generator) if noise else draw(torch.randn, (m, x.shape[1]), x, generator)
            return partner(z, x, g).bincount(minlength=n).to(x)

        for step in range(self.steps):
            g = g + scale * (1 - n * counts(g, self.batch) / self.batch) / (1 + step) ** 0.5
            if step >= self.steps // 2:
                mean += (g - mean) / (step - self.steps // 2 + 1)
        m = 16 * max(n, self.batch)
        found = counts(mean, m).double()
        return mean, (n * (found * (found - 1)).sum() / (m * (m - 1.0)) - 1).item()


@dataclass(frozen=True)
class SemidiscretePairs(Coupling):
    """A learned `SemidiscreteOT`: the data, by groups of equal labels, and the potentials of each group."""

    waits: ClassVar[bool] = True

    everything: Everything
    keys: Tensor  # of each group, (groups, features)
    rows: tuple[Tensor, ...]  # of each group, (m,)
    data: tuple[Tensor, ...]  # (m, d)
    potentials: tuple[Tensor, ...]  # (m,)
    chi2: float  # the largest of the groups

    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        """Fresh noise with the data that belong to it; labels are those of the batch."""
        chosen = torch.empty(len(pairs.noise), dtype=torch.int64, device=pairs.noise.device)
        theirs = keys(pairs.context, pairs.noise)
        for key, rows, data, g in zip(self.keys, self.rows, self.data, self.potentials, strict=True):
            here = (theirs == key).all(1).nonzero()[:, 0]
            chosen[here] = rows[partner(pairs.noise[here].flatten(1), data, g)]
        return self.everything(chosen, generator)._replace(noise=pairs.noise)


@dataclass(frozen=True)
class Reflowed(Coupling):
    """Noise with what a trained flow makes of it: reflow. Liu et al. 2023, arXiv:2209.03003.

    The last transform of the flow is continuous, and its pairs are made once, before training: `count` of them, or as
    many as there are data, whose conditions they have in turn.
    """

    flow: Flow
    count: int = 20_000
    batch: int = 2000  # pairs that are made at a time

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"pairs are made one or more at a time; got batch={self.batch}.")

    @torch.no_grad()
    def learn(self, everything: Everything) -> FixedPairs:
        pairs = everything()
        n = max(self.count, len(pairs.data))
        given = torch.arange(n, device=pairs.data.device) % len(pairs.data)
        noise = draw(torch.randn, (n, *pairs.data.shape[1:]), pairs.data, Generator("cpu").manual_seed(0))
        context = conditions.each(pairs.context, lambda t: t[given])
        last = [*flattened(self.flow.transform)][-1]
        made = []
        for part in torch.arange(n, device=noise.device).split(self.batch):
            rows = conditions.each(context, lambda t, part=part: t[part])
            made.append(last.decode(noise[part], self.flow.embedded(rows)))
        return FixedPairs(Pairs(noise, torch.cat(made), pairs.events[given], context))

    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        raise ValueError("a reflow makes its pairs first: coupling = coupling.learn(…).")


@dataclass(frozen=True)
class FixedPairs(Coupling):
    """Pairs that were made before: a batch draws from them, with replacement."""

    pairs: Pairs

    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        u = draw(torch.rand, pairs.noise.shape[:1], pairs.noise, generator)
        rows = (u * len(self.pairs.noise)).long().clamp(max=len(self.pairs.noise) - 1)
        context = conditions.each(self.pairs.context, lambda t: t[rows])
        return Pairs(self.pairs.noise[rows], self.pairs.data[rows], self.pairs.events[rows], context)


@dataclass(frozen=True)
class TrainedFlow(Coupling):
    """Data with their latents in a normalizing flow that has learned them: its own one-to-one map, made continuous.

    The better the flow, the closer to normal its latents are. The flow has the conditions of the flow that is trained,
    or none, and a standard normal base. Raises ValueError where it has another base, or latents of another size.
    """

    flow: Flow

    def __post_init__(self):
        if not self.flow.base.standard:
            raise ValueError(
                f"the latents of a coupling are standard normal; this flow's base is a {type(self.flow.base).__name__}."
            )

    @torch.no_grad()
    def pair(self, pairs: Pairs, generator: Source = None) -> Pairs:
        context = pairs.context if self.flow.conditions else None
        z = self.flow.encode(pairs.events, context)
        if z[0].numel() != pairs.noise[0].numel():
            raise ValueError(
                f"noise has {pairs.noise[0].numel()} elements; the trained flow's latents, {z[0].numel()}."
            )
        return pairs._replace(noise=z.reshape(pairs.noise.shape).to(pairs.noise))


def partner(noise: Tensor, data: Tensor, potentials: Tensor) -> Tensor:
    """The row of the data (N, d) that belongs to each noise (n, d): argmax of g_j − |z − x_j|², (n,) int64."""
    heights = potentials - data.square().sum(1)
    return torch.cat([(heights + 2 * z @ data.T).argmax(1) for z in noise.split(max(1, 2**24 // len(data)))])


def assignment(noise: Events, data: Events) -> Tensor:
    """The order of the noise, (n,) int64, that minimises the sum of squared distances to the data."""
    solve = require("scipy.optimize", "ot").linear_sum_assignment
    cost = torch.cdist(data.flatten(1).double(), noise.flatten(1).double()).square()
    return torch.as_tensor(solve(cost.cpu().numpy())[1], device=noise.device)


def keys(context: Context, x: Events) -> Tensor:
    """One vector for each row of x, equal where all conditions are: (n, features) float64, on x's device."""
    parts = [t.reshape(len(x), -1).double() for condition in context.values() for t in condition if t is not None]
    return torch.cat(parts, 1) if parts else torch.zeros(len(x), 1, dtype=torch.float64, device=x.device)


def groups(context: Context, x: Events, *, labels: bool = False) -> list[Tensor]:
    """The rows of x for each value that the conditions have, (m,) int64 each. With `labels`, other conditions are
    refused."""
    if labels and any(condition.value.is_floating_point() for condition in context.values()):
        raise ValueError(
            "a semidiscrete coupling is learned for each label by itself; this flow has conditions of real numbers. "
            "Couple by Independent() or TrainedFlow(flow)."
        )
    found, group = keys(context, x).unique(dim=0, return_inverse=True)
    return [(group == i).nonzero()[:, 0] for i in range(len(found))]

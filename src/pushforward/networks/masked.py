"""Masked perceptrons: parameters for each number of a vector from the numbers before it, in one pass.

Each hidden unit has a set of numbers that it may read. A unit feeds another if the first one's set lies in the other's,
and feeds the answer for number i if its set lies among the parents of i; all other weights are masked. So the answer
for i depends on its parents alone. The sets are the parents themselves: for number i of D, all numbers before it, or
what a causal graph says. Germain et al. 2015 (MADE), arXiv:1502.03509; with residual branches it is a ResMADE, Nash &
Durkan 2019, arXiv:1904.05626.

**Back in one pass's arithmetic.** The units are sorted by the last number they read. When number t becomes known, those
units and only those that read no later one become known too: each is computed once, from slices of the weights.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.context import Context
from pushforward.networks.cache import Growing
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.mlp import Activation, Layers, widths


class MaskedLinear(nn.Linear):
    """A linear map with weights only where `pattern`, (outputs, inputs) of bool, is true."""

    mask: Tensor

    def __init__(self, pattern: Tensor):
        super().__init__(pattern.shape[1], pattern.shape[0])
        self.pattern = pattern
        self.register_buffer("mask", torch.empty(pattern.shape, dtype=torch.bool), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Write the mask, which the state dict leaves out, anew."""
        self.mask.copy_(self.pattern)

    @property
    def masked(self) -> Tensor:
        return self.weight * self.mask

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch has it
        return F.linear(input, self.masked, self.bias)


class MaskedMLP(CausalNetwork):
    """(batch, D) -> (batch, D, *raw): raw parameters for each number of a vector from its parents, a token each.

    `graph` (D, D) says who the parents are: graph[i][j] where number i may read number j < i; without it, all before
    i. Other orders: put the network's transform in `Reordered(Permutation(order), …)`. The rest is as for `MLP`. A
    hidden layer of fewer units than there are different sets of parents serves an even choice of them, and of each
    other set only a part is read.

    >>> MaskedMLP(3, (2,), hidden=(64, 64))(torch.zeros(7, 3)).shape
    torch.Size([7, 3, 2])
    """

    def __init__(
        self,
        features: int,
        raw: tuple[int, ...],
        *,
        graph: Tensor | None = None,
        hidden: tuple[int, ...] = (128, 128),
        residual: bool = False,
        activation: Activation = F.relu,
        project: nn.Module | None = None,
    ):
        super().__init__()
        self.tokens, self.raw = features, raw
        parents = _parents(features, graph)
        sets = [
            torch.eye(features, dtype=torch.bool, device="cpu"),  # a number's set is itself
            *(_chosen(parents, width, project is not None) for width in widths(hidden, residual)),
            parents.repeat_interleave(math.prod(raw), 0),
        ]
        maps = [MaskedLinear(_within(inner, outer)) for inner, outer in pairwise(sets)]
        self.layers = Layers(maps, residual=residual, activation=activation, project=project)
        asked = torch.arange(features, device="cpu").repeat_interleave(math.prod(raw))  # answers are given in order
        units = [*(_last(rows) for rows in sets[:-1]), asked]
        self.known = [[int((needs <= t).sum()) for t in range(features + 1)] for needs in units]

    def start(self, context: Context | None = None) -> Known:
        return Known(self.layers, context)

    def forward(self, x: Tensor, context: Context | None = None, cache: Known | None = None) -> Tensor:
        if cache is None:
            return self.layers(x, context).unflatten(-1, (self.tokens, *self.raw))
        first, size = cache.length, math.prod(self.raw)
        answers = self._learn(x, cache)
        end = min(cache.length + 1, self.tokens)
        new = answers[first * size : end * size].clone()  # a copy: truncate may write over them
        return new.T.unflatten(1, (end - first, *self.raw))

    def _learn(self, x: Tensor, cache: Known) -> Tensor:
        """Compute every unit that x makes known; return the answers known by now, (answer, batch)."""
        start, cache.length = cache.length, cache.length + x.shape[1]
        v = cache.values[0].extend(x.T.to(self.layers.answer.weight.dtype), start)
        before = torch.zeros(())
        for k, (weight, bias) in enumerate(cache.maps, 1):
            old, now = self.known[k][start] if cache.begun else 0, self.known[k][cache.length]
            new = torch.addmm(bias[old:now], weight[old:now, : len(v)], v)
            if k == 1 and cache.projected is not None:
                new = new + cache.projected[old:now]
            if self.layers.skips(k):
                new = new + before  # the same units: a residual network has the same sets in all its layers
            if k % 2:
                before = new
            v = cache.values[k].extend(new if k == len(cache.maps) else self.layers.activation(new), old)
        cache.begun = True
        return v


class Known:
    """The units of a masked network that are known after the numbers fed so far, (unit, batch) in each layer.

    `length` counts the numbers; truncate(n) forgets all but the first n. The weights are masked once.
    """

    def __init__(self, layers: Layers, context: Context | None):
        self.length, self.begun = 0, False  # begun: what reads no number is known
        self.maps: list[tuple[Tensor, Tensor]] = [(layer.masked, layer.bias[:, None]) for layer in layers]  # pyright: ignore
        self.projected = None if layers.project is None else layers.project(context).T
        sizes = [self.maps[0][0].shape[1], *(len(weight) for weight, _ in self.maps)]
        self.values = [Growing(axis=0, capacity=size) for size in sizes]

    def truncate(self, length: int) -> None:
        assert 0 <= length <= self.length, f"cannot truncate {self.length} numbers to {length}"
        self.length = length


def _parents(features: int, graph: Tensor | None) -> Tensor:
    """(D, D) of bool: which numbers each may read."""
    if graph is None:
        return torch.ones(features, features, dtype=torch.bool, device="cpu").tril(-1)
    graph = torch.as_tensor(graph, dtype=torch.bool, device="cpu")
    if graph.shape != (features, features):
        raise ValueError(f"a graph of {features} numbers is of shape {(features, features)}; got {tuple(graph.shape)}.")
    for child, parent in graph.triu().nonzero().tolist():
        raise ValueError(
            f"in this graph number {child} reads number {parent}, which does not come before it. Put parents first, "
            "and the network's transform in Reordered(Permutation(order), …)."
        )
    return graph


def _last(sets: Tensor) -> Tensor:
    """How many numbers have to be known before each set is: one more than its last member, 0 for the empty set."""
    return (sets * torch.arange(1, sets.shape[1] + 1, device="cpu")).amax(1)


def _chosen(parents: Tensor, width: int, conditional: bool) -> Tensor:
    """(width, D): a set for each unit, of those that the parents are, in equal shares. Units that read nothing say
    something only if there is a context."""
    sets = torch.unique(parents, dim=0)
    sets = sets[_last(sets).argsort(stable=True)]
    if not conditional and len(sets) > 1:
        sets = sets[_last(sets) > 0]
    share = torch.arange(width, device="cpu") * len(sets) // max(width - 1, 1)
    return sets[share.clamp(max=len(sets) - 1)]


def _within(inner: Tensor, outer: Tensor) -> Tensor:
    """(outer, inner) of bool: whether each inner set lies in each outer one."""
    return (~outer).float() @ inner.float().T == 0

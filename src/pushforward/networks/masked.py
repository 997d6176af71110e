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
from pushforward.kernels import masked as kernel
from pushforward.networks.cache import Growing
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.mlp import Activation, Layers, widths


class MaskedLinear(nn.Linear):
    """A linear map with weights only where `pattern`, (outputs, inputs) of bool, is true."""

    mask: Tensor

    def __init__(self, pattern: Tensor):
        super().__init__(pattern.shape[1], pattern.shape[0])
        self.pattern = pattern
        self.register_buffer("mask", torch.empty(pattern.shape), persistent=False)  # numbers: to multiply by
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

    attends = False

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
        # how many units of each layer, the input first, are known once t numbers are
        self.known = [[int((_last(units) <= t).sum()) for t in range(features + 1)] for units in sets[:-1]]

    def start(self, context: Context | None = None) -> Known:
        return Known(self.layers, self.known, context)

    def forward(self, x: Tensor, context: Context | None = None, cache: Known | None = None) -> Tensor:
        if cache is None:
            return self.layers.run(x, context).view(-1, self.tokens, *self.raw)
        if cache.decodes_by_kernel(x):
            answers = cache.read_by_kernel(x)
            return answers.view(*answers.shape[:2], *self.raw)
        first = cache.length
        answers = cache.learn(x)[first * math.prod(self.raw) :]
        # a copy: what is learned after truncate may write over them
        return answers.T.clone(memory_format=torch.contiguous_format).view(-1, cache.answered - first, *self.raw)


class Known:
    """The units of a masked network that are known once the first numbers are: (unit, batch) in each layer.

    `length` counts the numbers fed; truncate(n) forgets all but the first n. The weights are masked once.
    """

    def __init__(self, layers: Layers, counts: list[list[int]], context: Context | None):
        self.length = 0
        self.counts, self.activation, self.skips, self.residual = (
            counts,
            layers.activation,
            layers.skips,
            layers.residual,
        )
        maps: list[tuple[Tensor, Tensor]] = [(layer.masked, layer.bias[:, None]) for layer in layers]  # pyright: ignore
        *self.maps, self.answer = maps
        self.projected = None if layers.project is None else layers.project(context).T
        self.values = [Growing(axis=0, capacity=layer[-1]) for layer in counts]
        self.answers = Growing(axis=0, capacity=len(self.answer[0]))  # (raw numbers of all tokens, batch)
        self.answered = 0  # tokens: those fed, and the next
        self.plain = layers.linears() is not None
        self.kernel: kernel.MaskedDecoder | None = None  # remembers all this where the kernel decodes

    @property
    def tokens(self) -> int:
        return self.counts[0][-1]

    def decodes_by_kernel(self, x: Tensor) -> bool:
        """Whether the kernel reads x; decided when the first features are read."""
        if not self.answered and self.plain and self.activation is F.relu and type(x) is Tensor and x.is_cpu:
            maps = [(weight, bias[:, 0]) for weight, bias in (*self.maps, self.answer)]
            weights = kernel.Weights(maps, self.counts, self.residual)
            if kernel.serves(weights, len(x)):
                added = None if self.projected is None else self.projected.T
                self.kernel = kernel.MaskedDecoder(weights, len(x), added)
        return self.kernel is not None

    def read_by_kernel(self, x: Tensor) -> Tensor:
        assert self.kernel is not None
        answers = self.kernel.read(x)
        self.length, self.answered = self.kernel.length, min(self.kernel.length + 1, self.tokens)
        return answers

    def learn(self, x: Tensor) -> Tensor:
        """Compute every unit that x (batch, n) makes known, and return all answers that are known then."""
        start, self.length = self.length, self.length + x.shape[1]
        answered, self.answered = self.answered, min(self.length + 1, self.tokens)
        v = before = self.values[0].extend(x.T.to(self.answer[0].dtype), start)
        for k, layer in enumerate(self.maps, 1):
            old, now = self.counts[k][start] if answered else 0, self.counts[k][self.length]
            new = _rows(layer, old, now, v)
            if k == 1 and self.projected is not None:
                new = new + self.projected[old:now]
            if self.skips(k):
                new = new + before  # the same units: a residual network has the same sets in all its layers
            if k % 2:
                before = new
            v = self.values[k].extend(self.activation(new), old)
        raw = self.answers.capacity // self.tokens
        return self.answers.extend(_rows(self.answer, answered * raw, self.answered * raw, v), answered * raw)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= self.length, f"cannot truncate {self.length} numbers to {length}"
        self.length, self.answered = length, min(self.answered, length + 1)
        if self.kernel is not None:
            self.kernel.truncate(length)


def _rows(layer: tuple[Tensor, Tensor], start: int, stop: int, v: Tensor) -> Tensor:
    """Outputs start … stop − 1 of a linear map, which read no inputs but the first ones, v (input, batch)."""
    weight, bias = (t.narrow(0, start, stop - start) for t in layer)
    return torch.addmm(bias, weight.narrow(1, 0, v.shape[0]), v)


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

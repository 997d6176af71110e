"""Masked perceptrons: raw parameters for each feature of a vector from the features before it, in one pass.

Each hidden unit has a set of features that it may read. Unit a feeds unit b if a's set is a subset of b's, and it feeds
the outputs for feature i if its set is a subset of the parents of i; all other weights are masked. So the outputs for i
depend on the parents of i alone. Every set is the parents of some feature: all features before it, or those that a
causal graph names. Germain et al. 2015 (MADE), arXiv:1502.03509; with residual branches, Nash & Durkan 2019 (ResMADE),
arXiv:1904.05626.

**Decoding takes the arithmetic of one pass.** Units are sorted by the last feature that they read. Once features up to
t are known, the units that read no later feature can be computed: each is computed once, from slices of the weights.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.computed import Computed
from pushforward.conditions import Context
from pushforward.kernels import masked as kernel
from pushforward.networks import graph
from pushforward.networks.causal import CausalNetwork
from pushforward.networks.decoder import Buffer, Decoder, KernelDecoder
from pushforward.networks.graph import GraphDecoder
from pushforward.networks.mlp import Activation, Layers, widths
from pushforward.plain import is_unchanged

REPEATED = 2**33  # multiplications of a pass up to which launching a token's own few operations would take longer


class MaskedLinear(Computed):
    """A linear map with weights only where `pattern`, (outputs, inputs) of bool, is true.

    It is no `nn.Linear`: what replaces those by layers with other weights, as low-rank adapters do, ignores the mask.
    """

    mask: Tensor

    def __init__(self, pattern: Tensor):
        super().__init__()
        self.out_features, self.in_features = pattern.shape
        self.weight = nn.Parameter(torch.empty(pattern.shape))
        self.bias = nn.Parameter(torch.empty(self.out_features))
        self.reset_parameters()
        self.pattern = pattern
        self.register_buffer("mask", torch.empty(pattern.shape), persistent=False)  # 0.0 and 1.0
        self.reset()

    def reset_parameters(self) -> None:
        """Draw the weights that an `nn.Linear` begins with."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -(self.in_features**-0.5), self.in_features**-0.5)

    def reset(self) -> None:
        """Set the mask, which the state dict leaves out."""
        self.mask.copy_(self.pattern)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"


class MaskedMLP(CausalNetwork):
    """(batch, D) -> (batch, D, *raw): raw parameters for each feature of a vector from its parents, a token each.

    `graph` (D, D) names the parents: graph[i][j] is true where feature i may read feature j < i. Without it the parents
    of i are all features before it. For other orders put the network's transform in `Permuted(Permutation(order), …)`.
    The rest is as for `MLP`. A hidden layer with fewer units than there are different sets of parents has units for an
    evenly spaced selection of these sets; features with another set read units of its subsets only.

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
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.features = self.tokens = features
        self.token, self.raw = (), raw
        parents = _parents(features, graph)
        sets = [
            torch.eye(features, dtype=torch.bool, device="cpu"),  # an input reads itself
            *(_chosen(parents, width, context_encoder is not None) for width in widths(hidden, residual)),
            parents.repeat_interleave(math.prod(raw), 0),
        ]
        maps = [MaskedLinear(_within(inner, outer)) for inner, outer in pairwise(sets)]
        self.layers = Layers(maps, residual=residual, activation=activation, context_encoder=context_encoder)
        # how many units of each layer, the input first, are known once t features are
        self.known = [_last(units).bincount(minlength=features + 1).cumsum(0).tolist() for units in sets[:-1]]

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        return self.layers.run(x, context).view(-1, self.features, *self.raw)

    def start(self, rows: int, context: Context | None = None) -> Decoder:
        layers = self.layers
        linears = layers.linears() if is_unchanged(self, MaskedMLP) else None
        if linears is None:
            return self.whole(rows, context)  # the other decoders would not call the layers
        added = None if layers.context_encoder is None else layers.context_encoder(context)
        maps = [linear.folded() for linear in linears]
        weights = kernel.Weights(maps, self.known, layers.residual)
        if layers.activation is F.relu and kernel.serves(weights, rows):
            blank = maps[0][0].new_zeros(rows, 0)
            return KernelDecoder(kernel.MaskedDecoder(weights, rows, added), self.raw, blank, self.features)
        hidden = sum(weight.numel() for weight, _ in maps[:-1])
        if rows * hidden <= REPEATED and graph.serves(*(t for pair in maps for t in pair)):
            memory = Features(weights, layers.activation, added, self.raw, rows)
            return GraphDecoder(memory.advance, memory.first(), self.features)
        return UnitDecoder(weights, layers.activation, added, self.raw, rows)


class Features:
    """The features of `rows` vectors that were read, and `advance`: what a graph of a masked network's decoding
    computes. All hidden units are computed at every read; a unit that is not yet known feeds no output that is wanted.
    """

    def __init__(
        self, weights: kernel.Weights, activation: Activation, added: Tensor | None, raw: tuple[int, ...], rows: int
    ):
        *self._maps, (weight, bias) = weights.maps
        self._answer = weight.unflatten(0, (-1, math.prod(raw))), bias.unflatten(0, (-1, math.prod(raw)))
        self._residual, self._activation, self._added, self._raw = weights.residual, activation, added, raw
        self._x = weight.new_zeros(rows, len(weights.known[0]) - 1)

    def first(self) -> Tensor:
        """Raw parameters of the first feature, (B, 1, *raw)."""
        return self._answers(torch.zeros(1, dtype=torch.long, device=self._x.device))

    def advance(self, x: Tensor, places: Tensor, length: int) -> Tensor:
        """Features x (B, n) at `places` (n,) -> raw parameters of the feature after each, (B, n, *raw)."""
        self._x.index_copy_(1, places, x.to(self._x.dtype))
        return self._answers(places + 1)

    def _answers(self, places: Tensor) -> Tensor:
        v = branch = F.linear(self._x, *self._maps[0])
        if self._added is not None:
            v = branch = v + self._added
        for k, layer in enumerate(self._maps[1:], 2):
            v = F.linear(self._activation(v), *layer)
            if self._residual and k % 2:
                v = branch = v + branch
        weight, bias = (part.index_select(0, places).flatten(0, 1) for part in self._answer)
        return F.linear(self._activation(v), weight, bias).view(len(v), -1, *self._raw)


class UnitDecoder(Decoder):
    """Keeps, for each layer of a masked network, the units (unit, batch) that are known once the first features are."""

    kind = "tensors"

    def __init__(
        self, weights: kernel.Weights, activation: Activation, added: Tensor | None, raw: tuple[int, ...], rows: int
    ):
        self._maps = [(weight, bias[:, None]) for weight, bias in weights.maps]
        self._known, self._residual, self._activation, self._raw = weights.known, weights.residual, activation, raw
        self._added = None if added is None else added.T
        self._values = [Buffer(0, max(layer[-1], 1)) for layer in weights.known]
        self._outputs = math.prod(raw)  # of a feature
        super().__init__(self._advance(self._maps[0][0].new_zeros(rows, 0), None, 0), len(weights.known[0]) - 1)

    def _read(self, x: Tensor) -> Tensor:
        return self._advance(x, self.length, self.length + x.shape[1])

    def _advance(self, x: Tensor, before: int | None, length: int) -> Tensor:
        """Compute the units that are known once the first `length` features are, and were not after the first `before`.

        Returns the raw parameters of features before + 1 … length, (B, length − before, *raw), counted from 0. Where
        `before` is None nothing was computed yet, and those of feature 0 come first.
        """
        start = before or 0
        v = branch = self._values[0].extend(x.T.to(self._maps[0][0].dtype), start)
        *maps, answer = self._maps
        for k, layer in enumerate(maps, 1):
            old, now = 0 if before is None else self._known[k][before], self._known[k][length]
            new = _rows(layer, old, now, v)
            if k == 1 and self._added is not None:
                new = new + self._added[old:now]
            if self._residual and k % 2:
                new = branch = new if k == 1 else new + branch  # unit i reads the same set in all layers
            v = self._values[k].extend(self._activation(new), old)
        first = 0 if before is None else before + 1
        outputs = _rows(answer, first * self._outputs, (length + 1) * self._outputs, v)
        return outputs.T.contiguous().view(-1, length + 1 - first, *self._raw)


def _rows(layer: tuple[Tensor, Tensor], start: int, stop: int, v: Tensor) -> Tensor:
    """Outputs start … stop − 1 of a linear map. They read only its first inputs, v (input, batch)."""
    weight, bias = (t.narrow(0, start, stop - start) for t in layer)
    return torch.addmm(bias, weight.narrow(1, 0, v.shape[0]), v)


def _parents(features: int, graph: Tensor | None) -> Tensor:
    """(D, D) of bool: which features each may read."""
    if graph is None:
        return torch.ones(features, features, dtype=torch.bool, device="cpu").tril(-1)
    graph = torch.as_tensor(graph, dtype=torch.bool, device="cpu")
    if graph.shape != (features, features):
        raise ValueError(f"a graph of {features} features has shape {(features, features)}; got {tuple(graph.shape)}.")
    for child, parent in graph.triu().nonzero().tolist():
        raise ValueError(
            f"in this graph feature {child} reads feature {parent}, which does not precede it. Put parents first, "
            "and the network's transform in Permuted(Permutation(order), …)."
        )
    return graph


def _last(sets: Tensor) -> Tensor:
    """One more than the last member of each set, 0 for the empty set: so many features must be known to compute it."""
    return (sets * torch.arange(1, sets.shape[1] + 1, device="cpu")).amax(1)


def _chosen(parents: Tensor, width: int, conditional: bool) -> Tensor:
    """(width, D): a set of parents for each unit, in equal shares. Units with the empty set are of use only with a
    context."""
    sets = torch.unique(parents, dim=0)
    sets = sets[_last(sets).argsort(stable=True)]
    if not conditional and len(sets) > 1:
        sets = sets[_last(sets) > 0]
    share = torch.arange(width, device="cpu") * len(sets) // max(width - 1, 1)
    return sets[share.clamp(max=len(sets) - 1)]


def _within(inner: Tensor, outer: Tensor) -> Tensor:
    """(outer, inner) of bool: whether each inner set is a subset of each outer one."""
    return (~outer).float() @ inner.float().T == 0

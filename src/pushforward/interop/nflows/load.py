"""Loads state dicts of nflows with these transforms, alone, in a `CompositeTransform` or in an `InverseTransform`.

    MaskedAffineAutoregressiveTransform
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform    with tails="linear"
    PiecewiseRationalQuadraticCouplingTransform                with tails="linear" and a ResidualNet
    Permutation, RandomPermutation, ReversePermutation, LULinear, ActNorm, BatchNorm

A state dict holds names and tensors, and no classes. A transform is recognised by the names of its entries, and its
sizes by their shapes. What a state dict does not contain is a keyword argument, or not supported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.bases import StandardNormal
from pushforward.conditions import Vector
from pushforward.flow import Flow
from pushforward.interop.nflows.moves import ScaleShift, SoftmaxSpline
from pushforward.interop.nflows.networks import Branch, Layer, Linear, MaskedNet, ResidualNet
from pushforward.moves import Elementwise
from pushforward.networks.masked import MaskedLinear
from pushforward.networks.mlp import Activation
from pushforward.transform import Chain, Inverse, Transform
from pushforward.transforms import LU, ActNorm, Autoregressive, Coupling, Permutation, Split

Module = TypeVar("Module", bound=nn.Module)


def load_nflows(
    state_dict: Mapping[str, Tensor],
    *,
    tail_bound: float | None = None,
    min_bin_width: float = 1e-3,
    min_bin_height: float = 1e-3,
    min_derivative: float = 1e-3,
    activation: Activation = F.relu,
) -> Flow:
    """A flow from the state dict of an nflows `Flow` over vectors, whose base is `StandardNormal`.

    The flow is on the CPU, in the state dict's precision. A flow with a context is conditioned on a vector. A
    `BatchNorm` between transforms becomes an `ActNorm` with its running statistics; batch normalisation inside networks
    is not supported.

    The keyword arguments are what a state dict does not contain. Their defaults are those of nflows, but `tail_bound`
    must be given where there are splines. All splines are assumed rational-quadratic. A transform without entries, such
    as `Tanh`, is detected only where others follow it. Raises ValueError for entries that are missing or unknown.
    """
    spline = None
    if tail_bound is not None:
        spline = SoftmaxSpline(1, tail_bound, 1.0, min_bin_width, min_bin_height, min_derivative)
    entries = _Entries(dict(state_dict), _Missing(spline, activation))
    entries.state.pop("_distribution._log_z", None)  # a constant of the base, which older versions kept
    parts = list(_transforms(entries.below("_transform")))
    if entries.state:
        raise ValueError(
            f"load_nflows cannot read the entries {_listed(entries.state)}. The docstring of "
            "pushforward.interop.nflows.load lists the transforms it can read."
        )
    features, context = entries.sizes["features"], entries.sizes.get("context", 0)
    conditions = {"vector": Vector(context)} if context else {}
    flow = Flow(Chain(*parts), StandardNormal(features), event=(features,), conditions=conditions)
    if flow.initialized is not None:
        flow.initialized.fill_(True)  # before it was saved
    return flow.to(next((t.dtype for t in state_dict.values() if t.is_floating_point()), None))


@dataclass(frozen=True)
class _Missing:
    """What a state dict does not contain."""

    spline: SoftmaxSpline | None  # of one bin
    activation: Activation

    def move(self, params: int, divisor: float) -> Elementwise:
        """The move with this number of raw parameters an element. Logits of a spline are divided by `divisor`."""
        if params == 2:
            return ScaleShift()
        if self.spline is None:
            raise ValueError(
                "this flow has splines: give tail_bound=, as it was given to nflows (whose default is 1.0)."
            )
        if params % 3 != 2:
            raise ValueError(
                "a rational-quadratic spline with linear tails has 3 · bins − 1 parameters an element; this one has "
                f"{params}. load_nflows reads no others."
            )
        return replace(self.spline, bins=(params + 1) // 3, divisor=divisor)


@dataclass
class _Entries:
    """The entries of a state dict whose names begin with `path`. Those read are removed; the rest is an error."""

    state: dict[str, Tensor]
    missing: _Missing
    path: str = ""
    sizes: dict[str, int] = field(default_factory=dict)

    def below(self, name: str) -> _Entries:
        return replace(self, path=f"{self.path}{name}.")

    def names(self, name: str = "") -> list[str]:
        """Those that begin with `name.`, without the path."""
        path = f"{self.path}{name}." if name else self.path
        return [key.removeprefix(path) for key in self.state if key.startswith(path)]

    def numbered(self, name: str) -> list[_Entries]:
        """The entries of `name.0`, `name.1`, …, a list. Raises ValueError where an index is missing."""
        below, numbers = self.below(name), {int(key.split(".")[0]) for key in self.names(name)}
        for i in range(max(numbers, default=-1)):
            if i not in numbers:
                raise ValueError(
                    f"{below.path}{i} has no entries, and its kind is unknown. load_nflows cannot read it."
                )
        return [below.below(str(i)) for i in sorted(numbers)]

    def take(self, name: str) -> Tensor:
        try:
            return self.state.pop(self.path + name).detach().cpu()
        except KeyError:
            raise ValueError(f"the state dict has no {self.path}{name}, which load_nflows needs.") from None

    def linear(self, name: str) -> Linear:
        """A linear map, masked where its mask is stored."""
        below = self.below(name)
        weight, bias = below.take("weight"), below.take("bias")
        if f"{name}.mask" in self.names():
            layer = MaskedLinear(below.take("mask").bool())
            below.take("degrees")
        else:
            layer = nn.Linear(weight.shape[1], weight.shape[0])
        return _filled(layer, weight=weight, bias=bias)

    def agree(self, what: str, size: int) -> None:
        """Check a size that all transforms share."""
        if self.sizes.setdefault(what, size) != size:
            raise ValueError(f"{self.path[:-1]} has {what} of size {size}, and others of size {self.sizes[what]}.")


def _transforms(entries: _Entries) -> Iterator[Transform]:
    names = entries.names()
    if entries.names("_transforms"):
        for part in entries.numbered("_transforms"):
            yield from _transforms(part)
        return
    if entries.names("_transform"):
        yield Inverse(Chain(*_transforms(entries.below("_transform"))))
        return
    if not names:
        raise ValueError("this is not the state dict of an nflows Flow: no entry of it begins with _transform.")
    for known, build in BUILDERS.items():
        if known in names:
            yield from build(entries)
            return
    raise ValueError(
        f"load_nflows knows no transform with the entries {_listed(entries.path + name for name in names)}."
    )


def _permutation(entries: _Entries) -> Iterator[Transform]:
    order = entries.take("_permutation").tolist()
    entries.agree("features", len(order))
    yield Permutation(order)


def _lu(entries: _Entries) -> Iterator[Transform]:
    """z = L U x + b, where U has softplus(…) + 1e-3 on its diagonal."""
    lower, upper, bias = (entries.take(name) for name in ("lower_entries", "upper_entries", "bias"))
    features = len(bias)
    factors = torch.diag((F.softplus(entries.take("unconstrained_upper_diag")) + 1e-3).log())
    below, above = torch.tril_indices(features, features, -1), torch.triu_indices(features, features, 1)
    factors[below[0], below[1]], factors[above[0], above[1]] = lower, upper
    yield _filled(LU(features), factors=factors)
    yield from _diagonal(entries, torch.zeros_like(bias), bias)


def _act_norm(entries: _Entries) -> Iterator[Transform]:
    entries.take("initialized")
    return _diagonal(entries, entries.take("log_scale"), entries.take("shift"))


def _batch_norm(entries: _Entries) -> Iterator[Transform]:
    """z = weight · (x − mean) / √(variance + eps) + bias, of the running mean and variance. eps = 1e-5."""
    weight = F.softplus(entries.take("unconstrained_weight")) + 1e-5
    log_scale = weight.log() - 0.5 * torch.log(entries.take("running_var") + 1e-5)
    return _diagonal(entries, log_scale, entries.take("bias") - entries.take("running_mean") * log_scale.exp())


def _diagonal(entries: _Entries, log_scale: Tensor, shift: Tensor) -> Iterator[Transform]:
    """z = exp(log_scale) · x + shift."""
    entries.agree("features", len(shift))
    yield _filled(ActNorm(len(shift)), log_scale=-log_scale, shift=-shift * torch.exp(-log_scale))


def _masked(entries: _Entries) -> Iterator[Transform]:
    net, activation = entries.below("autoregressive_net"), entries.missing.activation
    first, last = net.linear("initial_layer"), net.linear("final_layer")
    read = _context_layer(net)
    features = first.in_features
    entries.agree("features", features)
    blocks = [_block(block, activation, added=True) for block in net.numbered("blocks")]
    move = entries.missing.move(last.out_features // features, 1.0)
    yield Autoregressive(MaskedNet(first, read, blocks, last, activation), move)


def _coupling(entries: _Entries) -> Iterator[Transform]:
    kept, moved = (entries.take(name).tolist() for name in ("identity_features", "transform_features"))
    entries.agree("features", len(kept) + len(moved))
    net = entries.below("transform_net")
    first, last = net.linear("initial_layer"), net.linear("final_layer")
    entries.agree("context", first.in_features - len(kept))
    blocks = [_block(block, entries.missing.activation, added=False) for block in net.numbered("blocks")]
    move = entries.missing.move(last.out_features // len(moved), math.sqrt(last.in_features))
    split = Split(Permutation([*kept, *moved]), len(kept), len(moved))
    yield Coupling(ResidualNet(first, blocks, last, move.params_per_element), move, split)


def _block(entries: _Entries, activation: Activation, *, added: bool) -> nn.Module:
    if entries.names("linear"):
        return Layer(entries.linear("linear"), activation)
    layers = [entries.linear(f"linear_layers.{i}") for i in range(2)]
    return Branch(layers, _context_layer(entries), activation, added=added)


def _context_layer(entries: _Entries) -> Linear | None:
    if not entries.names("context_layer"):
        return None
    layer = entries.linear("context_layer")
    entries.agree("context", layer.in_features)
    return layer


# by the name of an entry that no other transform has
BUILDERS: dict[str, Callable[[_Entries], Iterator[Transform]]] = {
    "_permutation": _permutation,
    "lower_entries": _lu,
    "running_mean": _batch_norm,
    "initialized": _act_norm,
    "autoregressive_net.initial_layer.weight": _masked,
    "transform_net.initial_layer.weight": _coupling,
}


def _filled(module: Module, **values: Tensor) -> Module:
    """The module with these parameters, in their precision."""
    for name, value in values.items():
        setattr(module, name, nn.Parameter(value.clone()))
    return module


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (f", and {len(names) - 5} more" if len(names) > 5 else "")

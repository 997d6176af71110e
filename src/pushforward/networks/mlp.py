"""Multi-layer perceptrons: linear maps with an activation a between.

    v_1 = W_1 x + c            c is the projected context, or absent
    v_k = W_k a(v_{k−1})       and in a residual network, every second one: + v_{k−2}
    answer = W a(v_last)       zero at the start, which for a move is the identity

The biases are left out here. The residual branches have two linear maps each: He et al. 2016, arXiv:1603.05027.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from pushforward.context import Context
from pushforward.kernels import perceptron as kernel
from pushforward.networks.plain import is_plain, is_watched

Activation = Callable[[Tensor], Tensor]


class Layers(nn.Module):
    """The formulas above, for linear maps of any kind: (batch, features) -> (batch, answers).

    `added` is the projected context, (batch, units of the first layer).
    """

    def __init__(
        self, maps: Sequence[nn.Linear], *, residual: bool, activation: Activation, project: nn.Module | None = None
    ):
        super().__init__()
        *maps, self.answer = maps
        self.maps = nn.ModuleList(maps)
        self.residual, self.activation, self.project = residual, activation, project
        self.kinds = tuple(type(layer) for layer in self)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def __iter__(self) -> Iterator[nn.Module]:
        yield from self.maps
        yield self.answer

    def skips(self, k: int) -> bool:
        """Whether value k, counted from 1, is the end of a residual branch."""
        return self.residual and k > 1 and k % 2 == 1

    def run(self, x: Tensor, context: Context | None = None) -> Tensor:
        """The answers to a context, by the kernel where it serves."""
        x = x.to(self.answer.weight.dtype)
        added = None if self.project is None else self.project(context)
        layers = self.linears() if self.activation is F.relu and not kernel.serving.recorded() else None
        if layers is None or not kernel.serves(x, added, layers, residual=self.residual):
            return self(x, added)
        return kernel.perceptron(x, added, layers, residual=self.residual, tensors=self._by_tensors)

    def linears(self) -> list[kernel.Linear] | None:
        """The maps' tensors, where they are of the kinds that this was made of, unchanged and unwatched."""
        maps = (*self.maps, self.answer)
        if is_watched(self) or len(maps) != len(self.kinds):
            return None
        found = []
        for layer, kind in zip(maps, self.kinds, strict=True):
            own = layer._parameters
            weight, bias = own.get("weight"), own.get("bias")
            if weight is None or bias is None or not is_plain(layer, kind):
                return None
            found.append(kernel.Linear(weight, bias, layer._buffers.get("mask")))
        return found

    def _by_tensors(self, x: Tensor, added: Tensor | None, *parameters: Tensor) -> Tensor:
        maps = [*(f"maps.{k}" for k in range(len(self.maps))), "answer"]
        names = [f"{layer}.{name}" for layer in maps for name in ("weight", "bias")]
        return functional_call(self, dict(zip(names, parameters, strict=True)), (x, added))

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        v = before = self.maps[0](x)
        if added is not None:
            v = before = v + added
        for k, layer in enumerate(self.maps[1:], 2):
            v = layer(self.activation(v))
            if self.skips(k):
                v = before = v + before
        return self.answer(self.activation(v))


class MLP(nn.Module):
    """(batch, features) -> (batch, *raw): raw parameters from numbers that stand still.

    `hidden` has the widths of the hidden layers; of the branches, all of one width, where the network is residual.
    `project` turns the context into a vector of the first width; without it the context is ignored.

    >>> MLP(3, (2, 5), hidden=(64, 64))(torch.zeros(7, 3)).shape
    torch.Size([7, 2, 5])
    """

    def __init__(
        self,
        features: int,
        raw: tuple[int, ...],
        *,
        hidden: tuple[int, ...] = (128, 128),
        residual: bool = False,
        activation: Activation = F.relu,
        project: nn.Module | None = None,
    ):
        super().__init__()
        self.raw = raw
        sizes = (features, *widths(hidden, residual), math.prod(raw))
        maps = [nn.Linear(*size) for size in pairwise(sizes)]
        self.layers = Layers(maps, residual=residual, activation=activation, project=project)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        return self.layers.run(x, context).view(*x.shape[:-1], *self.raw)


class OfAngles(nn.Module):
    """A network that reads the cosines and sines of the first `angles` numbers: a full turn of them changes nothing.

    `net` gets 2 · angles numbers, and the rest as it is.
    """

    def __init__(self, net: nn.Module, angles: int):
        super().__init__()
        self.net, self.angles = net, angles

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        angles, rest = x.tensor_split((self.angles,), 1)
        return self.net(torch.cat([angles.cos(), angles.sin(), rest], 1), context)

    def extra_repr(self) -> str:
        return f"angles={self.angles}"


def widths(hidden: tuple[int, ...], residual: bool) -> tuple[int, ...]:
    """The widths of the values v_1, v_2, …: two for each residual branch, and one before them."""
    if not hidden or (residual and len(set(hidden)) > 1):
        raise ValueError(f"a network has hidden layers, of one width where it is residual; got hidden={hidden}.")
    return (hidden[0], *(width for width in hidden for _ in range(2))) if residual else hidden

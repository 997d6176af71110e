"""Multi-layer perceptrons: linear maps with an activation a between them.

    v_1 = W_1 x + c            c is the encoded context, or absent
    v_k = W_k a(v_{k−1})       plus v_{k−2} in a residual network, for k = 3, 5, …
    answer = W a(v_last)       zero at the start, which for a move is the identity

Biases are not written here. A residual branch has two linear maps: He et al. 2016, arXiv:1603.05027.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from pushforward.conditions import Context
from pushforward.initialization import zeroed
from pushforward.kernels import perceptron as kernel
from pushforward.plain import computes_in, is_watched
from pushforward.recording import recorded

Activation = Callable[[Tensor], Tensor]


class Layers(nn.Module):
    """The formulas above, for linear maps of any kind: (batch, features) -> (batch, outputs).

    `added` is the encoded context, (batch, units of the first layer).
    """

    def __init__(
        self,
        maps: Sequence[Any],  # modules with a weight and a bias
        *,
        residual: bool,
        activation: Activation,
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        *maps, answer = maps
        self.answer, self.maps = zeroed(answer), nn.ModuleList(maps)
        self.residual, self.activation, self.context_encoder = residual, activation, context_encoder
        self.kinds = tuple(type(layer) for layer in self)
        self.multiplications = sum(layer.weight.numel() for layer in [*maps, answer])

    def __iter__(self) -> Iterator[nn.Module]:
        yield from self.maps
        yield self.answer

    def skips(self, k: int) -> bool:
        """Whether value k, counted from 1, is the end of a residual branch."""
        return self.residual and k > 1 and k % 2 == 1

    def run(self, x: Tensor, context: Context | None = None) -> Tensor:
        """The outputs under a context, by the compiled kernel where it may serve."""
        added = None if self.context_encoder is None else self.context_encoder(context)
        layers = self.linears() if self._suits_kernel(x) else None
        if layers is not None:
            x = x.to(layers[-1].weight.dtype)
            if kernel.serves(x, added, layers, residual=self.residual):
                return kernel.perceptron(x, added, layers, residual=self.residual, tensors=self._by_tensors)
        return self(x, added)

    def _suits_kernel(self, x: Tensor) -> bool:
        """Whether the activation is the kernel's and there is enough work."""
        if recorded() or self.activation is not F.relu:
            return False
        return kernel.pays(x.shape[0], self.multiplications, masked=self.kinds[-1] is not nn.Linear)

    def linears(self) -> list[kernel.Linear] | None:
        """Its linear maps as tensors; None where one is not of its original class, or has hooks or replaced parts."""
        maps, found = [*self.maps, self.answer], []
        if is_watched(self) or len(maps) != len(self.kinds):
            return None
        for layer, kind in zip(maps, self.kinds, strict=True):
            own = layer._parameters  # read for every layer at every call, so without attribute look-ups
            weight, bias, mask = own.get("weight"), own.get("bias"), layer._buffers.get("mask")
            if type(layer) is not kind or layer._modules or is_watched(layer) or weight is None or bias is None:
                return None
            found.append(kernel.Linear(weight, bias, mask))
        return found

    def _by_tensors(self, x: Tensor, added: Tensor | None, *parameters: Tensor) -> Tensor:
        maps = [*(f"maps.{k}" for k in range(len(self.maps))), "answer"]
        names = [f"{layer}.{name}" for layer in maps for name in ("weight", "bias")]
        return functional_call(self, dict(zip(names, parameters, strict=True)), (x, added))

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        v = before = self.maps[0](x.to(computes_in(self.answer)))
        if added is not None:
            v = before = v + added
        for k, layer in enumerate(self.maps[1:], 2):
            v = layer(self.activation(v))
            if self.skips(k):
                v = before = v + before
        return self.answer(self.activation(v))


class MLP(nn.Module):
    """(batch, features) -> (batch, *raw): raw parameters from a vector.

    `hidden` has the widths of the hidden layers; in a residual network those of its branches, which are all the same.
    `context_encoder` turns the context into a vector of the first width; without it the context is ignored.

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
        context_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.raw = raw
        sizes = (features, *widths(hidden, residual), math.prod(raw))
        maps = [nn.Linear(*size) for size in pairwise(sizes)]
        self.layers = Layers(maps, residual=residual, activation=activation, context_encoder=context_encoder)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        return self.layers.run(x, context).view(*x.shape[:-1], *self.raw)


class OfAngles(nn.Module):
    """A network that reads the cosines and sines of the first `angles` features, so its output is periodic in them.

    `net` reads 2 · angles features, and then the other features of x.
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
    """The widths of v_1, v_2, …: two for each residual branch, after one for v_1."""
    if not hidden or min(hidden) < 1 or (residual and len(set(hidden)) > 1):
        raise ValueError(
            "a network has at least one hidden layer, of width 1 or more, and a residual one has equal widths; got "
            f"hidden={hidden}."
        )
    return (hidden[0], *(width for width in hidden for _ in range(2))) if residual else hidden

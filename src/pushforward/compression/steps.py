"""Local bits-back coding: what each transform of a chain does to events that are integers times a small unit.

A step turns x into z. The encoder pops z from the stack, with a normal distribution around f(x), and pushes x, with one
around f⁻¹(z):

    z ~ N(f(x), (sigma |df/dx|)²)        x ~ N(f⁻¹(z), sigma²)

for each element, where f is elementwise given what it is conditioned on. The decoder pops x and pushes z. It costs
−log|df/dx| bits, as it should, and a little more: of the order of sigma². Ho et al. 2019, arXiv:1905.08500.
No deviation is less than half a unit, in which z is rounded: where f is nearly flat, x is spread as widely as the
points that round to one z.

Encoder and decoder must have the same numbers to the last bit. So both compute raw parameters by the same calls: a
causal network reads token after token in both directions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushforward.compression.stack import Stack
from pushforward.moves import Elementwise, Move, TokenMixture
from pushforward.networks import CausalNetwork
from pushforward.transform import Inverse, Transform, flattened
from pushforward.transforms import ActNorm, Autoregressive, Coupling, Permuted, Rearrangement

LEAST, MOST = 0.5, 2.0**45  # of a deviation, in units
Doors = tuple[Callable[[Tensor], tuple[Tensor, Tensor]], ...]  # x -> z and log-slopes; z -> x and log-slopes


class Grid(NamedTuple):
    """Events are integers times 2^−bits, and noise in x has the deviation `sigma`, in units."""

    bits: int
    sigma: float

    def real(self, n: Tensor) -> Tensor:
        return n.double() * 2.0**-self.bits

    def units(self, x: Tensor) -> Tensor:
        return x * 2.0**self.bits


class Step(ABC):
    """Events x, int64, to events z and back, on a stack."""

    @abstractmethod
    def encode(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor: ...

    @abstractmethod
    def decode(self, z: Tensor, stack: Stack, grid: Grid) -> Tensor: ...


class Rearranged(Step):
    """Elements in another order: nothing is coded."""

    def __init__(self, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]):
        self.there, self.back = there, back

    def encode(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor:
        return self.there(x)

    def decode(self, z: Tensor, stack: Stack, grid: Grid) -> Tensor:
        return self.back(z)


class Scaled(Step):
    """A map of each element alone."""

    def __init__(self, norm: ActNorm):
        self._doors: Doors = norm.slopes, lambda z: (norm.inverse(z)[0], -norm.slopes(z)[1])  # slopes are constant

    def encode(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor:
        return _encoded(x, self._doors, stack, grid)

    def decode(self, z: Tensor, stack: Stack, grid: Grid) -> Tensor:
        return _decoded(z, self._doors, stack, grid)


class Coupled(Step):
    """A coupling, or its inverse: those that move, given those that are kept."""

    def __init__(self, coupling: Coupling, *, inverted: bool = False):
        self._split, self._net, self._move, self._inverted = coupling.split, coupling.net, coupling.move, inverted

    def encode(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor:
        kept, moved = self._split.apart(x)
        return self._split.join(kept, _encoded(moved, self._doors(kept, grid), stack, grid))

    def decode(self, z: Tensor, stack: Stack, grid: Grid) -> Tensor:
        kept, moved = self._split.apart(z)
        return self._split.join(kept, _decoded(moved, self._doors(kept, grid), stack, grid))

    def _doors(self, kept: Tensor, grid: Grid) -> Doors:
        doors = _given(self._move, self._net(grid.real(kept), None))
        return doors[::-1] if self._inverted else doors


class Sequential(Step):
    """An autoregressive step, token by token: the encoder from the last to the first.

    A token is coded whole where its move is elementwise, else feature by feature.
    """

    def __init__(self, net: CausalNetwork, move: Elementwise | TokenMixture):
        self.net, self.move = net, move

    def encode(self, x: Tensor, stack: Stack, grid: Grid) -> Tensor:
        decoder, tokens = self.net.start(len(x), None), x.split(1, 1)
        raw = [decoder.answer.clone()]
        raw += [decoder.read(grid.real(token)).clone() for token in tokens[:-1]]
        z = []
        for token in reversed(tokens):
            given, parts = raw.pop(), self._parts(token)
            for i in reversed(range(len(parts))):
                z.append(_encoded(parts[i], self._doors(given, parts[:i], token, grid), stack, grid))
        return torch.cat(z[::-1], -1).view(x.shape)

    def decode(self, z: Tensor, stack: Stack, grid: Grid) -> Tensor:
        decoder, x = self.net.start(len(z), None), []
        for token in z.split(1, 1):
            if x:
                decoder.read(grid.real(x[-1]))
            parts = []
            for part in self._parts(token):
                parts.append(_decoded(part, self._doors(decoder.answer, parts, token, grid), stack, grid))
            x.append(torch.cat(parts, -1))
        return torch.cat(x, 1)

    def _parts(self, token: Tensor) -> Sequence[Tensor]:
        """What is coded at once."""
        return token.split(1, -1) if isinstance(self.move, TokenMixture) else (token,)

    def _doors(self, raw: Tensor, before: Sequence[Tensor], token: Tensor, grid: Grid) -> Doors:
        """The maps of the part after these of a token."""
        if isinstance(self.move, TokenMixture):
            return self.move.after(grid.real(torch.cat([token[..., :0], *before], -1)), raw)
        return _given(self.move, raw)


def steps_of(transform: Transform) -> Iterator[Step]:
    """The steps of a chain. Raises ValueError, naming the part, where one cannot be coded."""
    for part in flattened(transform):
        match part:
            case Rearrangement():
                yield Rearranged(part.arrange, part.restore)
            case Inverse(transform=Rearrangement() as turned):
                yield Rearranged(turned.restore, turned.arrange)
            case ActNorm():
                yield Scaled(part)
            case Permuted():
                yield Rearranged(part.order.arrange, part.order.restore)
                yield from steps_of(part.step)
                yield Rearranged(part.order.restore, part.order.arrange)
            case Coupling(move=Elementwise()):
                yield Coupled(part)
            case Inverse(transform=Coupling(move=Elementwise()) as coupling):
                yield Coupled(coupling, inverted=True)
            case Autoregressive(net=net, move=Elementwise() | TokenMixture() as move):
                yield Sequential(net, move)
            case _:
                raise ValueError(
                    f"this flow has a step {type(part).__name__}, which cannot be coded. Those that can: couplings "
                    "with moves of single elements, autoregressive steps, ActNorm, and rearrangements."
                )


def _given(move: Move, raw: Tensor) -> Doors:
    return lambda x: move.forward(x, raw), lambda z: move.inverse(z, raw)


def _encoded(x: Tensor, doors: Doors, stack: Stack, grid: Grid) -> Tensor:
    z = torch.from_numpy(stack.pop_normal(*_around_z(x, doors, grid))).view(x.shape)
    stack.push_normal(flat(x), *_around_x(z, doors, grid))
    return z


def _decoded(z: Tensor, doors: Doors, stack: Stack, grid: Grid) -> Tensor:
    x = torch.from_numpy(stack.pop_normal(*_around_x(z, doors, grid))).view(z.shape)
    stack.push_normal(flat(z), *_around_z(x, doors, grid))
    return x


def _around_z(x: Tensor, doors: Doors, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    y, log_slopes = doors[0](grid.real(x))
    return flat(grid.units(y)), flat((grid.sigma * log_slopes.exp()).clamp(LEAST, MOST))


def _around_x(z: Tensor, doors: Doors, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    x, log_slopes = doors[1](grid.real(z))
    return flat(grid.units(x)), flat((LEAST * log_slopes.exp()).clamp(grid.sigma, MOST))


def flat(t: Tensor) -> np.ndarray:
    """Its elements, as the stack takes them."""
    return t.detach().reshape(-1).contiguous().numpy()

"""Coupling transforms: some elements are kept, and the others move by raw parameters that depend on the kept ones.

    z_kept = x_kept        z_moved = move(x_moved; net(x_kept))

Each direction takes one pass of the network, which need not be invertible. The Jacobian is triangular, with ones on the
diagonal for kept elements. Dinh et al. 2015 (NICE), arXiv:1410.8516; 2017 (Real NVP), arXiv:1605.08803.

Splits are not learned: a permutation with gradients is a soft one, which is not a bijection. A learned linear map
before the split generalises a permutation and is a bijection: `LU`, as in NSF, or `Rotation`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.shapes import Events, PerSample, at_least_float32
from pushforward.transform import Diagnosis, Transform, Triangular, summed
from pushforward.transforms.permutation import Permutation, shuffled
from pushforward.transforms.reshape import Rearrangement, Regroup, numbered, squares


class Split(nn.Module):
    """Which elements move: of x in the given `order`, the first `kept` are kept, and the other `moved` move.

    >>> kept, moved = halves(5).apart(torch.arange(5.0)[None])
    >>> kept, moved
    (tensor([[0., 1.]]), tensor([[2., 3., 4.]]))
    """

    def __init__(self, order: Rearrangement, kept: int, moved: int):
        super().__init__()
        if not kept or not moved:
            raise ValueError(
                f"a coupling keeps some elements and moves others, and this one keeps {kept} and moves {moved}. "
                "For a single feature use an autoregressive transform."
            )
        self.order, self.kept, self.moved = order, kept, moved

    def apart(self, x: Events) -> tuple[Events, Events]:
        return self.order.arrange(x).split((self.kept, self.moved), 1)  # pyright: ignore[reportReturnType]

    def join(self, kept: Events, moved: Events) -> Events:
        return self.order.restore(torch.cat([kept, moved], 1))

    def extra_repr(self) -> str:
        return f"kept={self.kept}, moved={self.moved}"


def halves(features: int, *, swapped: bool = False) -> Split:
    """The first half is kept; if `swapped`, the second."""
    return _split(list(range(features)), features // 2, swapped)


def alternating(features: int, *, swapped: bool = False) -> Split:
    """Features 1, 3, 5, … are kept; if `swapped`, 0, 2, 4, …"""
    return _split([*range(1, features, 2), *range(0, features, 2)], features // 2, swapped)


def scattered(features: int, seed: int, *, swapped: bool = False) -> Split:
    """A random half is kept; if `swapped`, the other half of the same seed."""
    return _split(list(shuffled(features, seed).order), features // 2, swapped)


def checkerboard(image: tuple[int, int, int], *, swapped: bool = False) -> Split:
    """The black squares of a checkerboard of pixels are kept; if `swapped`, the white ones.

    Squares of one colour form an image of half the width, (B, C, H, W/2). Raises ValueError where the width is odd.
    Dinh et al. 2017 (Real NVP), arXiv:1605.08803.
    """
    places = squares(image).roll(image[0] if swapped else 0, 0)
    return Split(Regroup(places, image), image[0], image[0])


def within_tokens(tokens: int, features: int, seed: int) -> Split:
    """A random half of every token's features is kept: (B, T, D) -> two of (B, T, D/2). Raises ValueError where D is
    odd."""
    if features % 2:
        raise ValueError(
            f"half of a token's features are kept, and an odd number has no half; got {features} features."
        )
    places = numbered((tokens, features))[:, list(shuffled(features, seed).order)]
    return Split(Regroup(places.unflatten(1, (2, -1)).movedim(1, 0).flatten(0, 1), (tokens, features)), tokens, tokens)


def whole_tokens(kept: Tensor, features: int) -> Split:
    """The tokens where `kept` (T,) bool is True are kept, half of all. Each is split into two, (B, T, D) -> two of
    (B, T, D/2), so that the network has the same sizes as for `within_tokens`.

    Raises ValueError where D is odd, or where not half of the tokens are kept.
    """
    if features % 2 or 2 * int(kept.sum()) != len(kept):
        raise ValueError(
            "half of the tokens are kept, and each has an even number of features; got "
            f"{int(kept.sum())} of {len(kept)} tokens, of {features} features."
        )
    order = torch.cat([kept.nonzero()[:, 0], (~kept).nonzero()[:, 0]])
    places = numbered((len(kept), features))[order]
    return Split(Regroup(places.unflatten(1, (2, -1)).flatten(0, 1), (len(kept), features)), len(kept), len(kept))


def _split(order: list[int], kept: int, swapped: bool) -> Split:
    moved = len(order) - kept
    if swapped:
        return Split(Permutation(order[kept:] + order[:kept]), moved, kept)
    return Split(Permutation(order), kept, moved)


class Coupling(Triangular):
    """`net` reads the kept elements, (batch, kept, …), and returns raw parameters for those that move."""

    def __init__(self, net: nn.Module, move: Move, split: Split):
        super().__init__()
        self.net, self.move, self.split = net, move, split

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        kept, moved, log_slopes = self._map(self.move.forward, x, context)
        return self.split.join(kept, moved), self.split.join(torch.zeros_like(kept), log_slopes)

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._joined(*self._map(self.move.forward, x, context))

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return self._joined(*self._map(self.move.inverse, z, context))

    def _joined(self, kept: Events, moved: Events, log_slopes: Events) -> tuple[Events, PerSample]:
        """All elements, and the log-determinant. The log-slopes of kept elements are 0: they are not added."""
        return summed(self.split.join(kept, moved), log_slopes)

    def _map(
        self, direction: Callable[..., tuple[Tensor, Tensor]], x: Events, context: Context | None
    ) -> tuple[Events, Events, Events]:
        kept, moved = self.split.apart(x)
        return at_least_float32(kept), *direction(moved, self.net(kept, context))

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis:
        log_slopes = self.slopes(x, context)[1]
        return Diagnosis("Coupling", log_slopes, outside=self.move.outside(self.split.apart(x)[1]))

    def extra_repr(self) -> str:
        return f"move={type(self.move).__name__}"


class Masked(Transform):
    """Applies `step` to those elements that move, independently of the kept ones: z_moved = step(x_moved).

    >>> from pushforward.transforms import ActNorm
    >>> Masked(halves(5), ActNorm(3))(torch.zeros(2, 5))[0].shape
    torch.Size([2, 5])
    """

    def __init__(self, split: Split, step: Transform):
        super().__init__()
        self.split, self.step = split, step

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        kept, moved = self.split.apart(x)
        moved, log_det = self.step(moved, context)
        return self.split.join(at_least_float32(kept), moved), log_det

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        kept, moved = self.split.apart(z)
        moved, log_det = self.step.inverse(moved, context)
        return self.split.join(at_least_float32(kept), moved), log_det

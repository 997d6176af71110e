"""Permutations of the features of a vector, or of the channels of an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.computed import Computed
from pushforward.randomness import keyed
from pushforward.shapes import Events
from pushforward.transforms.reshape import Rearrangement


class Permutation(Rearrangement, Computed):
    """z[:, i] = x[:, order[i]]. The order is neither learned nor in the state dict.

    >>> Permutation([2, 0, 1])(torch.tensor([[5.0, 6.0, 7.0]]))[0]
    tensor([[7., 5., 6.]])
    """

    there: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int]):
        super().__init__()
        self.order = tuple(int(i) for i in order)
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(
                f"an order of {len(self.order)} features names each of 0 … {len(self.order) - 1} once; got "
                f"{self.order}."
            )
        self.idle = self.order == tuple(range(len(self.order)))
        self.register_buffer("there", torch.empty(len(self.order), dtype=torch.long), persistent=False)
        self.register_buffer("back", torch.empty(len(self.order), dtype=torch.long), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Set the indices, which the state dict leaves out."""
        self.there.copy_(torch.tensor(self.order, device="cpu"))
        self.back.copy_(self.there.argsort())

    def arrange(self, x: Events) -> Events:
        return x if self.idle else x.index_select(1, self.there)

    def restore(self, z: Events) -> Events:
        return z if self.idle else z.index_select(1, self.back)

    def extra_repr(self) -> str:
        return f"{len(self.order)}"


def shuffled(features: int, seed: int) -> Permutation:
    """A random permutation. The same seed gives the same order."""
    return Permutation(torch.randperm(features, generator=keyed(seed), device="cpu").tolist())

"""Permutations of the features of a vector, or of the channels of an image; and a step in another order."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pushforward.bases import Base
from pushforward.computed import Computed
from pushforward.conditions import Context
from pushforward.plain import is_unchanged
from pushforward.randomness import keyed
from pushforward.shapes import Events, InParts, PerSample
from pushforward.transform import Diagnosis, Triangular
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


class Permuted(Triangular):
    """Applies `step` to x in another order: z = order⁻¹(step(order(x))). z and log-slopes are in x's order."""

    def __init__(self, order: Rearrangement, step: Triangular):
        super().__init__()
        self.order, self.step = order, step

    @property
    def causal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.order.causal and self.step.causal

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        z, log_slopes = self.step.slopes(self.order.arrange(x), context)
        return self.order.restore(z), self.order.restore(log_slopes)

    def forward(self, x: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        z, log_det = self.step(self.order.arrange(x), context)
        return self.order.restore(z), log_det

    def log_prob(self, x: Events, base: Base, context: Context | None = None) -> PerSample:
        if not (base.standard and is_unchanged(self, Permuted)):
            return super().log_prob(x, base, context)
        # every order has the same density
        return self.step.log_prob(self.order.arrange(x), base, context)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x, log_det = self.step.inverse(self.order.arrange(z), context)
        return self.order.restore(x), log_det

    def stream(self, z: InParts, context: Context | None = None, known: Events | None = None) -> Iterator[Events]:
        if not self.causal:
            return super().stream(z, context, known)
        first = None if known is None else self.order.arrange(known)
        return map(self.order.restore, self.step.stream(map(self.order.arrange, z), context, first))

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis | None:
        return self.step.diagnose(self.order.arrange(x), self.order.arrange(z), context)

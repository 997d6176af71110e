"""What the models of vectors share: what they are conditioned on, where their numbers live, and in which units."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from pushforward.bases import Base, Concatenated, StandardNormal, UniformAngle
from pushforward.conditions import Kind, Label, Vector
from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.moves import Elementwise, Move
from pushforward.networks import MLP, LabelEmbedding, MaskedMLP, VectorEmbedding
from pushforward.transform import Chain, Transform
from pushforward.transforms import ActNorm, Autoregressive, Circle, Coupling, Interval, Split, Support, Unconstrain


@dataclass(frozen=True, kw_only=True)
class VectorModel(Model):
    """A flow over vectors, unconditional or conditioned on a vector or a label."""

    base: ClassVar[type[Base]] = StandardNormal  # what the latent is distributed as; angles are uniform
    support: ClassVar[Support] = Interval()  # where a number lives if `supports` does not say

    features: int
    context: int = 0  # numbers in the vector that it is conditioned on
    classes: int = 0  # or classes of the label; neither: unconditional
    supports: tuple[Support, ...] = ()  # where each number lives
    hidden: tuple[int, ...] = (128, 128)  # widths of the networks' layers; one for each branch of a residual network

    def __post_init__(self):
        if self.features < 1 or self.context < 0 or self.classes < 0 or (self.context and self.classes):
            raise ValueError(
                "a model of vectors has features, and is conditioned on a vector or on a label or on nothing; got "
                f"features={self.features}, context={self.context}, classes={self.classes}."
            )
        if len(self.supports) not in (0, self.features):
            raise ValueError(f"give a support for each of {self.features} features, or none; got {len(self.supports)}.")
        if self.circles and not isinstance(self.support, Circle):
            raise ValueError(
                f"{self.circles} of {self.features} numbers live on circles, and {type(self).__name__} is for the real "
                "line: CircularNSF takes both."
            )

    @property
    def circles(self) -> int:
        """How many of the numbers live on circles."""
        return sum(isinstance(support, Circle) for support in self.supports or (self.support,) * self.features)

    def build(self) -> Flow:
        conditions: dict[str, Kind] = {}
        if self.context:
            conditions["vector"] = Vector(self.context)
        if self.classes:
            conditions["label"] = Label(self.classes)
        base = self.base(self.features - self.circles)
        if self.circles:
            base = Concatenated(UniformAngle(self.circles), base)
        return Flow(Chain(*self.transforms()), base, event=(self.features,), conditions=conditions)

    @abstractmethod
    def transforms(self) -> Iterator[Transform]:
        """From data to latent."""

    def units(self) -> Iterator[Transform]:
        """Each number to the real line, and standardised. Both are part of the flow, saved with it and in its density.

        `flow.initialize(x)` measures mean and scale; until then the data's own units stay.
        """
        if self.supports:
            yield Unconstrain(self.supports)
        yield ActNorm(self.features, learned=False)

    def coupling_step(self, move: Move, split: Split, *, residual: bool = False) -> Coupling:
        """MLP × move × coupling."""
        raw = move.raw_shape(split.moved)
        net = MLP(split.kept, raw, hidden=self.hidden, residual=residual, context_encoder=self.context_encoder())
        return Coupling(net, move, split)

    def masked_step(self, move: Elementwise, *, residual: bool = False) -> Autoregressive:
        """Masked MLP × move × autoregressive."""
        raw = (move.params_per_element,)
        net = MaskedMLP(
            self.features, raw, hidden=self.hidden, residual=residual, context_encoder=self.context_encoder()
        )
        return Autoregressive(net, move)

    def context_encoder(self) -> nn.Module | None:
        """A network's own projection of what the flow is conditioned on."""
        if self.classes:
            return LabelEmbedding(self.classes, self.hidden[0])
        return VectorEmbedding(self.context, self.hidden[0]) if self.context else None


@torch.no_grad()
def shift_at_random(step: Coupling | Autoregressive, size: float = 1.0) -> None:
    """Draw its network's last layer anew, `size` times as large, but for the weights of log-scales, which stay zero."""
    net: Any = step.net
    net.layers.answer.reset_parameters()
    for weights in net.layers.answer.parameters():
        weights.mul_(size).unflatten(0, (-1, net.raw[-1]))[:, 0] = 0

"""The base class of models of vectors: conditions, supports, standardised features, and kinds of step."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
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


class GaussianWarning(UserWarning):
    """A model that is built can only be a Gaussian."""


@dataclass(frozen=True, kw_only=True)
class VectorModel(Model):
    """A flow over vectors, unconditional or conditioned on a vector or a label."""

    base: ClassVar[type[Base]] = StandardNormal  # the distribution of latents; those of angles are uniform
    support: ClassVar[Support] = Interval()  # of each feature, where `supports` is empty

    features: int
    context: int = 0  # features of the vector condition
    classes: int = 0  # or classes of the label condition; 0 and 0: unconditional
    supports: tuple[Support, ...] = ()  # one for each feature
    robust: bool = False  # units of features and context by median and central range, which outliers do not set
    hidden: tuple[int, ...] = (128, 128)  # widths of a network's layers; or of its branches, if it is residual

    def __post_init__(self):
        super().__post_init__()
        if self.features < 1 or (self.context and self.classes):
            raise ValueError(
                "a model of vectors has one feature or more, and is conditioned on a vector, a label or nothing; got "
                f"features={self.features}, context={self.context}, classes={self.classes}."
            )
        if not isinstance(self.supports, tuple) or not all(isinstance(support, Support) for support in self.supports):
            raise ValueError(
                "supports is a tuple of transforms.Interval, Circle and Integers, one for each feature; got "
                f"{self.supports!r}."
            )
        if len(self.supports) not in (0, self.features):
            raise ValueError(f"give a support for each of {self.features} features, or none; got {len(self.supports)}.")
        if self.circles and not isinstance(self.support, Circle):
            raise ValueError(
                f"{self.circles} of {self.features} supports are circles, and {type(self).__name__} takes intervals "
                "and integers alone. CircularNSF takes both."
            )

    @property
    def circles(self) -> int:
        """How many features are on circles."""
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
        chain = Chain(*self.assemble())
        return Flow(chain, base, event=(self.features,), conditions=conditions, objective=self.objective)

    def small(self) -> Model:
        return replace(self, hidden=(16,) * len(self.hidden))

    @abstractmethod
    def assemble(self) -> Iterator[Transform]:
        """The transforms from x to z."""

    def units(self) -> Iterator[Transform]:
        """Maps each feature to the real line, then to mean 0 and deviation 1: part of the flow, counted in the density.

        `flow.initialize(x)` sets mean and deviation from data; before, the second map is the identity.
        """
        if self.supports:
            yield Unconstrain(self.supports)
        yield ActNorm(self.features, learned=False, robust=self.robust)

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

    def warn_of_one_feature(self) -> None:
        """Warn that affine autoregressive steps over one feature make a Gaussian. On the meta device, where flows have
        no weights, there is no warning."""
        if self.features == 1 and torch.get_default_device().type != "meta":
            warnings.warn(
                f"a {type(self).__name__} of one feature is an affine map of its base, however many steps it has: it "
                "can only be a Gaussian. Use NSF(features=1, autoregressive=True).",
                GaussianWarning,
                stacklevel=4,
            )

    def context_encoder(self) -> nn.Module | None:
        """A fresh encoder of the context, (batch, hidden[0]), for one network."""
        if self.classes:
            return LabelEmbedding(self.classes, self.hidden[0])
        return VectorEmbedding(self.context, self.hidden[0], robust=self.robust) if self.context else None


@torch.no_grad()
def shift_at_random(step: Coupling | Autoregressive, size: float = 1.0) -> None:
    """Reset the network's last layer to `size` times torch's initialisation, but rows of log-scales to zero."""
    net: Any = step.net
    net.layers.answer.reset_parameters()
    for weights in net.layers.answer.parameters():
        weights.mul_(size).unflatten(0, (-1, net.raw[-1]))[:, 0] = 0

"""TarFlowLM = causal transformer × affine or mixture CDF × autoregressive, over the tokens of a text.

    tokens -> codebook of Gaussians -> x -> step -> step in reverse order -> step -> … -> z

Every token of the text becomes a random vector (`codecs.TokenCodebook`), and the flow is a density of these. Each step
moves a token given those before it, and every other step has the tokens in reverse order. A token moves by an affine
map; or feature by feature, each by the distribution function of a mixture (Mix-1); or in the first step by that of one
mixture over the vocabulary (Mix-d), which is a language model. Several tokens may be joined to a patch: then every
other step has their features in another order too, even ones first. `objectives.Progressive` trains the steps one after
the other.

Zhang et al. 2025, "Flexible Language Modeling in Continuous Space with Transformer-based Autoregressive Flows",
arXiv:2507.00425.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from pushforward.bases import StandardNormal
from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.moves import Affine, Gaussians, Mix1, MixD, Move
from pushforward.networks import LayerOptions, MaskedMLP, PrefixTransformer, Rotary
from pushforward.transform import Chain
from pushforward.transforms import Autoregressive, Permuted, Regroup, numbered


@dataclass(frozen=True)
class Mix1Options:
    """Mixtures of single features: `components` Gaussians each, from a masked network inside the token."""

    components: int = 64
    hidden: tuple[int, ...] = (64,)

    def move(self, features: int) -> Mix1:
        net = MaskedMLP(features, (3 * self.components,), hidden=self.hidden, context_encoder=nn.Identity())
        return Mix1(net, width=self.hidden[0], components=self.components)


@dataclass(frozen=True)
class MixDOptions:
    """A mixture of whole tokens: a Gaussian for each of a vocabulary, the codebook's own in a training."""

    vocabulary: int

    def move(self, features: int) -> MixD:
        return MixD(Gaussians(self.vocabulary, features))


@dataclass(frozen=True, kw_only=True)
class TarFlowLM(Model):
    """The configuration of a TarFlowLM; `build()` makes the flow. A row of x is `tokens` vectors of `features`.

    >>> model = TarFlowLM(tokens=16, features=3, width=64, depths=(2, 1), move=Mix1Options(4), first=MixDOptions(27))
    >>> model.build().sample(2).shape
    torch.Size([2, 16, 3])
    """

    tokens: int = 1024  # of a window
    features: int = 16  # of a token
    patch: int = 1  # tokens that are joined
    width: int = 768  # of the residual stream; heads are 64 wide, or there is one head where 64 does not divide it
    depths: tuple[int, ...] = (2, 2, 8)  # transformer layers of each step, from the data on
    move: Affine | Mix1Options = Mix1Options()  # of every step
    first: MixDOptions | None = None  # of the first step, in place of `move`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch < 1 or self.tokens % self.patch:
            raise ValueError(f"patches of {self.patch} do not tile a window of {self.tokens} tokens.")
        if self.first and self.patch > 1:
            raise ValueError("Mix-d moves single tokens: give patch=1, or first=None.")

    def build(self) -> Flow:
        patches = self.tokens // self.patch, self.patch * self.features
        joined = [Regroup(numbered((self.tokens, self.features)).reshape(patches), (self.tokens, self.features))]
        return Flow(
            Chain(*joined[: self.patch > 1], *(self._step(i, *patches) for i in range(len(self.depths)))),
            StandardNormal(*patches),
            event=(self.tokens, self.features),
        )

    def small(self) -> Model:
        move = self.move if isinstance(self.move, Affine) else Mix1Options(4, (16,))
        return replace(
            self,
            tokens=8 * self.patch,
            features=min(self.features, 2),
            width=16,
            depths=(1,) * len(self.depths),
            move=move,
            first=self.first and MixDOptions(min(self.first.vocabulary, 8)),
        )

    def _step(self, index: int, tokens: int, features: int) -> Autoregressive | Permuted:
        move = self._move(index, features)
        net = PrefixTransformer(
            features,
            move.raw_shape(features),
            positions=Rotary(tokens),
            width=self.width,
            depth=self.depths[index],
            options=LayerOptions(),
        )
        step = Autoregressive(net, move)
        if index % 2 == 0:
            return step
        order = numbered((tokens, features)).flip(0)
        if self.patch > 1:
            order = torch.cat([order[:, ::2], order[:, 1::2]], 1)
        return Permuted(Regroup(order, (tokens, features)), step)

    def _move(self, index: int, features: int) -> Move:
        if index == 0 and self.first:
            return self.first.move(features)
        return self.move if isinstance(self.move, Affine) else self.move.move(features)
